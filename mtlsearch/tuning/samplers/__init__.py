"""Samplers that mtlsearch adds to those of Optuna."""
