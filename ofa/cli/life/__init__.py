"""A life for `ofa footprint`: what it is of, its parts, its break-even points, and the text."""
