"""From the target options and the environment to the targets. Nothing is imported from them, nothing is changed."""
