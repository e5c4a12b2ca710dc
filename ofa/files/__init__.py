"""Bytes on disk, written atomically and checked when read; nothing about nets."""
