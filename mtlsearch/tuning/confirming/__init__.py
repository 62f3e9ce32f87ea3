"""What a confirmation is made of: its plan, the divisions of its data, its cost, and its conclusion."""
