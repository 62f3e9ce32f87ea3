"""Training: the readable reference (`solo`), and what it shares with the fused trainer in `population`.

Door: `trainer.Training`, `trainer.Trainer`, `solo.SoloTrainer`.
"""
