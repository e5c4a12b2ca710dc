"""Energy counters: a file a kind. To add one, see `base`."""
