"""The client of a server, for the commands and for Python."""
