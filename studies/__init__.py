"""The shipped studies; each uses the public names of mtlsearch alone, as a user's study file does."""
