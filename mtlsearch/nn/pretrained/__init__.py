"""Networks that were trained before: a backbone, frozen modules whose features are computed once, and adapters."""
