"""Evidence about task weights from trainings: statistics, the verdict's rule, and its sentences.

Door: `verdict.judge`, `answer.best_answer`, `answer.Plan`, `comparison.compared`.
"""
