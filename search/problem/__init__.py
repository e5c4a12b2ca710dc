"""The question: objectives, limits, the part of the space."""
