"""Reports of a study: the HTML page, figures, terminal tables, and notes for optuna-dashboard.

Door: `reading.read_report`, `writing.write_report`, `figures.plots`, `dashboard.publish`, `terminal_table.show_config`.
"""
