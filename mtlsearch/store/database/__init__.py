"""Optuna's tables in SQLite or PostgreSQL: opened safely, read from memory, written in groups.

Door: `opening.open_storage`.
"""
