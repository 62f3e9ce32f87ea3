"""Predictions of a trained model for new inputs, and their explanations.

Door: `predict.predict_files`, `explain.explain_files`.
"""
