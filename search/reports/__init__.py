"""Cards and tables as text and CSV."""
