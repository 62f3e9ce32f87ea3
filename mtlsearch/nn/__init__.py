"""Networks that train the same in a population as alone: layers, trunks, norms, dropout. A trunk is one file."""
