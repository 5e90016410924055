"""The commands: each is parsed, carried out and reported here."""
