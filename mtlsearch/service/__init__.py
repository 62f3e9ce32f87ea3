"""The service: one process that queues searches for a machine, runs them, and shows their results to a team."""
