"""Training: the readable reference (`solo`), and the parts that it shares with the trainer in `population`.

Door: `trainer.Training`, `trainer.Trainer`, `solo.SoloTrainer`.
"""
