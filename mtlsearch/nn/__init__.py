"""Networks that train in a population exactly as alone: layers, norms, dropout, and a module for each trunk."""
