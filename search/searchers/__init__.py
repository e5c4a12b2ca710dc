"""Algorithms that answer a problem."""
