"""Cost of a block on a device, modelled or measured, and how sure it is."""
