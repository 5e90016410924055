"""Sending the direct calls of a function through another one: `sites` finds them, `redirect` edits them."""
