"""One answer per device for a fleet."""
