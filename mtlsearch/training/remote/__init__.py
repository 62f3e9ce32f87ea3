"""Trainers in other processes: a worker hosts them, a transport reaches it, and the search sees a `Trainer`.

Doors: `staff.Staff` starts and watches workers; `trainer.RemoteTrainer` is one of their trainers;
`side_by_side.with_workers` plans how many a run starts by itself.
"""
