"""Numerics of platforms (fp32, int8, analog arrays), and nets that compute with them."""
