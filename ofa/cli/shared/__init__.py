"""Code that verbs share: options, the question they ask, measuring."""
