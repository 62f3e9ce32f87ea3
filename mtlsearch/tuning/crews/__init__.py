"""The trainers of a search with their keepers, in this process or one in each worker, as its loop sees them."""
