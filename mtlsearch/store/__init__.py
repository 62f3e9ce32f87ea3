"""A study's record: its definition, its trials, its files of configs and parameters.

Door: `record.Record`, `finding.open_record`, `finding.find_record`, `config_file.read_config`, `model_file.load_model`.
"""
