"""Tables that others published."""
