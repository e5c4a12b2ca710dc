"""Subnets that one search has predicted: the archive of the best, the log on disk, the result."""
