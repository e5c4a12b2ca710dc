"""Images from disk to the batch of a step."""
