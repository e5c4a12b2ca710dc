"""Work and memory of a block, whatever the device."""
