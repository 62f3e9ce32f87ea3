"""The definition of a search: tasks, model, space, budget and score.

Door: `study.Study`, `study_file.load_study`, `space.Config`, `space.Space`, `describe.describe`.
"""
