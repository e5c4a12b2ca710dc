"""A platform from a few timings of whole networks."""
