"""Cards and tables for people."""
