"""What a server answers: the API, the pages, the metrics and the dashboard, behind one guard."""
