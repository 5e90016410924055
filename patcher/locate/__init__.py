"""From what the user says, or the environment means, to targets. Nothing is imported from them, nothing is changed."""
