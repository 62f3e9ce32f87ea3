"""What a trained model says about new inputs, and why.

Door: `predict.predict_files`, `explain.explain_files`.
"""
