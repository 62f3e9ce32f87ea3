"""Examples as users hold them: arrays, sparse matrices, data frames; what their inputs are.

Nothing here knows `Data`. Door: `kinds.as_input`, `arrays.as_tensor`.
"""
