"""Joules that this machine consumed, read from its counters."""
