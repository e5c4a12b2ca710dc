"""Recordings of an external meter: joules per inference of a device that has no counter of its own. No torch here."""
