"""Read a downloaded file after checking that it is the published one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ofa.errors import UserError


def published_content(path: Path, sha256: str, source: str) -> bytes:
    """The content of a file whose digest is `sha256`; `source` names the published file in messages.

    Raises:
        UserError: the file is missing or has another digest.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; expected the file of {source}") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise UserError(f"{path}: SHA-256 is {digest}, expected {sha256} ({source})")
    return content
