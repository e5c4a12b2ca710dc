"""What a training run is told (recipe) and what it leaves (run directory)."""
