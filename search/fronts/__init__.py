"""Fronts for people."""
