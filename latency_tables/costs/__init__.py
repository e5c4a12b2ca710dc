"""Costs of a whole space, vectorised."""
