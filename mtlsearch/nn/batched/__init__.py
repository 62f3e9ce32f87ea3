"""torch's own layers as `vmap` can batch them, and as their noise is a function of seed and step."""
