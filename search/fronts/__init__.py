"""Fronts of accuracy against one cost, and the data of their figures."""
