"""The kinds of task, one file each: loss, metric, labels and answers.

A new kind is one new file here, and a public name in `mtlsearch`. Door: the classes, `kinds.kind_named`.
"""
