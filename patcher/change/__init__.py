"""Changing installed files so that nothing is lost: status, apply and revert, and the one protocol beneath them."""
