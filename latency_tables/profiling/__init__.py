"""Measuring a machine block by block."""
