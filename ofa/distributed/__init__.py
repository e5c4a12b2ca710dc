"""Ranks of one training, their messages, their devices and their random numbers."""
