"""Going on from what is known: configs to ask first, the region of another search, another width or length."""
