"""The shipped studies. Each uses only the public names of mtlsearch, as a user's study file does."""
