"""Members of equal shapes train as one program, each exactly as it would alone.

Door: `population.PopulationTrainer`, `steps.choose_steps`.
"""
