"""Groupings: training pairs of tasks and whole groupings, and the studies that follow from them."""
