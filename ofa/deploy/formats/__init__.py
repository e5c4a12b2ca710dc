"""Formats of a network that run elsewhere."""
