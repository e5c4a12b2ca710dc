"""Genes to accuracy, with its uncertainty."""
