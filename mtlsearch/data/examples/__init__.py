"""Examples as users hold them: arrays, sparse matrices, data frames, rows on disk; what their inputs are; their parts.

Nothing here knows `Data`. Door: `kinds.as_input`, `arrays.as_tensor`, `on_disk.OnDisk`, `parts.Part`.
"""
