"""Subnets without their supernet, and their file formats."""
