"""A subnet that stands on its own, and its formats."""
