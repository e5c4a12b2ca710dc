"""Measured subnets: the log, its noise, the closed loop."""
