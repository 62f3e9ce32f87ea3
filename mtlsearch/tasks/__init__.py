"""The kinds of task: a file each, with loss, metric, labels and answers. A new kind is one new file here."""
