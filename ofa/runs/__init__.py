"""Recipes (the input of a training run) and run directories (its output)."""
