"""How task weights are searched: one for each task, one for a group, or by the number of labels."""
