"""What runs at the start of every Python of a `mps-patcher run`: the import hook, and what it does to torch."""
