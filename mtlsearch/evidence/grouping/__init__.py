"""Which tasks belong together: partitions of the tasks into trunks, and what trainings prove of them."""
