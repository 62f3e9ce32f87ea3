"""Many tasks of one kind on one source train as columns: one product, one loss and one metric for all of them.

Door: `study.in_columns`, `losses.column_losses`.
"""
