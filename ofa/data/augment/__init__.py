"""Changes of a batch of images, drawn per image."""
