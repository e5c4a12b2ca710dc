"""The one exception that means "the user can fix this"."""


class UserError(ValueError):
    """A mistake in the user's input: one line naming the place, the value received and what is allowed.

    The command line prints the message and exits with code 2; library callers catch it as a `ValueError`.
    """
