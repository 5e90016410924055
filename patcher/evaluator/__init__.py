"""What `evaluate` runs in the target's interpreter. Python 3.8; the standard library, torch and transformers only."""
