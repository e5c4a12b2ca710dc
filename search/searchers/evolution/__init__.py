"""Evolutionary search with a surrogate."""
