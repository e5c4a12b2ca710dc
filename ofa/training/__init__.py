"""Progressive shrinking: the trainer and its parts."""
