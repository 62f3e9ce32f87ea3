"""What mattered in a search: shares of the score's variation, and the edges of the space."""
