"""The elastic network, the plain one that is extracted from it, and their layers."""
