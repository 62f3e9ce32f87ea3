"""Going on after an interruption: the states of trials in training are kept, and the next run takes them over."""
