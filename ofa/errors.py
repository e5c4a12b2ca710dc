"""The exception for mistakes that the user can fix, and the form of its message."""

from __future__ import annotations

import re
import unicodedata

SHOWN = 120
"""Characters of a value that a message shows: a key of a published latency table has up to 100."""
SHOWN_OF_A_PATH = 400
"""Characters shown of a word with a slash: the place of a file is needed in full."""
LONGEST = 4000
"""Characters of a whole message."""
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories of characters that break a line or a terminal, and of bytes that were no UTF-8."""
LONG = re.compile(rf"(?<!\w)'(?:[^'\\]|\\.){{{SHOWN},}}'(?!\w)|\"(?:[^\"\\]|\\.){{{SHOWN},}}\"|[^\s'\"]{{{SHOWN + 1},}}")
"""A quoted value, or a word, of more characters than a message shows."""


class UserError(ValueError):
    """A mistake in the user's input: one line naming the place, the value received and what is allowed.

    The command line prints the message and exits with code 2; library callers catch it as a `ValueError`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """A message as a line that can be printed: line breaks and control characters escaped, long values cut."""
    printable = "".join(char if is_printable(char) else char.encode("unicode_escape").decode() for char in text)
    cut = LONG.sub(_cut, printable)
    return cut if len(cut) <= LONGEST else f"{cut[: LONGEST - 3]}..."


def is_printable(text: str) -> bool:
    """True if a text has no line break, no control character and nothing that was no UTF-8."""
    return (text.isascii() and text.isprintable()) or not any(unicodedata.category(char) in UNPRINTABLE for char in text)


def _cut(found: re.Match[str]) -> str:
    value = found[0]
    end = value[-1] if value[-1] in "'\";:," else ""  # the closing quote, or the punctuation of the sentence
    limit = SHOWN_OF_A_PATH if "/" in value else SHOWN
    return value if len(value) <= limit else f"{value[: limit - 3 - len(end)]}...{end}"
