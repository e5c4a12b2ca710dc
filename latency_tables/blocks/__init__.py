"""What a block does, whatever the device: fused operations, memory."""
