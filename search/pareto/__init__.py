"""Dominance, fronts, hypervolume."""
