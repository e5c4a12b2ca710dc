"""Formats made of .tflite files, and what these need: rewriting, and a plan of the memory."""
