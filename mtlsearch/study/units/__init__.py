"""The units of losses and terms, measured before the first trial."""
