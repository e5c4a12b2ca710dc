"""Dynamic programming over stages."""
