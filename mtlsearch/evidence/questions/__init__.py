"""Questions to a finished search, which its trials answer without training."""
