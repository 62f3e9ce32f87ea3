"""The search: ask, train, prune, tell; confirm and compare afterwards; train one config again.

Door: `run.run_search`, `confirm.confirm_command`, `compare.compare_command`, `retrain.train_command`,
`retrain.verify_command`, `objective.objective`.
"""
