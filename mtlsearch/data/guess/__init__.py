"""Guesses about a table, made once by `mtlsearch init` and written into the study file.

Loading a study guesses nothing.
"""
