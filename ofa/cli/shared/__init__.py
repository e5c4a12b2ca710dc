"""What verbs share: options, the question they ask, measuring."""
