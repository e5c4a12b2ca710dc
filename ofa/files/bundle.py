"""A bundle: the files of a folder in one file, which may come from a stranger; `BundlePath` reads them as `Path` would.

A bundle is a zip whose members are stored, not compressed, so that any tool lists it. First comes `manifest.json`: the
version of the format, the size and SHA-256 of every other member, and facts for people. The comment of the zip is the digest
of all before it. Members are read where they lie in the file: nothing is written, decompressed or unpickled, and no size is
believed before it is compared with the file's. No numpy and no torch here.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import io
import json
import re
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa.errors import UserError

FORMAT = 1
SUFFIX = ".ofa"
MANIFEST = "manifest.json"
MOST_BYTES = 2**30
"""Size of the largest bundle that is opened."""
MOST_MEMBERS = 1000
MOST_BYTES_OF_TEXT = 2**26
"""Size of the largest member that is read as text, the manifest included."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")
"""Names of members: relative, below the root, without spaces."""
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
LOCAL, DIRECTORY = b"PK\x03\x04", b"PK\x01\x02"
MARK = b"sha256:"
DIGEST_CHARACTERS = 64
ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""The date of every member: the earliest that a zip can hold, so that equal contents make equal files."""
ADVICE = "copy the file again, or pack the run again"
HOW = f"ofa pack RUN --out FILE{SUFFIX} makes one"


class Bundle:
    """The members of a bundle, by name; use `open`.

    Attributes:
        path: the file.
        manifest: its `format`, `files` and facts.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any], members: Mapping[str, memoryview]) -> None:
        self.path, self.manifest, self._members = path, manifest, members

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read and check a bundle; raises `UserError` where it is missing, damaged, of a later version, or no bundle."""
        path = Path(path)
        content = _content(path)
        if content[:4] != LOCAL:
            raise UserError(f"{path}: no bundle (it does not begin as a zip does); {HOW}")
        members = _members(path, content)
        manifest = _manifest(path, members)
        if content[-DIGEST_CHARACTERS:].tobytes() != _digest(content[:-DIGEST_CHARACTERS]):
            raise UserError(f"{path}: damaged or cut short (another digest than it says); {ADVICE}")
        files = manifest["files"]
        for name, member in members.items():
            if name != MANIFEST and files.get(name, {}).get("bytes") != len(member):
                raise UserError(f"{path}: member {name} of {len(member)} bytes is not what its manifest lists; {ADVICE}")
        missing = sorted(files.keys() - members.keys())
        if missing:
            raise UserError(f"{path}: member {missing[0]} of its manifest is missing; {ADVICE}")
        return cls(path, manifest, members)

    @property
    def root(self) -> BundlePath:
        """The folder of all members."""
        return BundlePath(self)

    def names(self) -> Iterator[str]:
        """Names of all members but the manifest."""
        return (name for name in self._members if name != MANIFEST)

    def read(self, name: str) -> bytes:
        """The content of a member; raises `OSError` where there is none, or it has another digest than listed."""
        if name not in self._members:
            raise FileNotFoundError(errno.ENOENT, "no such member", f"{self.path}/{name}")
        content = bytes(self._members[name])
        if name != MANIFEST and hashlib.sha256(content).hexdigest() != self.manifest["files"][name].get("sha256"):
            raise OSError(errno.EIO, f"another digest than its manifest lists; {ADVICE}")
        return content

    def size(self, name: str) -> int:
        """Bytes of a member; 0 where there is none."""
        return len(self._members.get(name, b""))


@dataclass(frozen=True)
class BundlePath:
    """A file or folder inside a bundle, with those methods of `Path` that read."""

    bundle: Bundle
    inside: str = ""
    """Name of the member or folder; empty for the root."""

    def __str__(self) -> str:
        return f"{self.bundle.path}/{self.inside}" if self.inside else str(self.bundle.path)

    def __truediv__(self, name: str) -> BundlePath:
        return BundlePath(self.bundle, f"{self.inside}/{name}" if self.inside else name)

    @property
    def name(self) -> str:
        """The last part; of the root, the bundle's file name."""
        return self.inside.rpartition("/")[2] or self.bundle.path.name

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return Path(self.name).stem

    @property
    def suffix(self) -> str:
        """The ending of the name."""
        return Path(self.name).suffix

    def with_name(self, name: str) -> BundlePath:
        """Another file of the same folder."""
        folder = self.inside.rpartition("/")[0]
        return BundlePath(self.bundle, f"{folder}/{name}" if folder else name)

    def is_file(self) -> bool:
        """Tell whether this is a member."""
        return self.inside in self.bundle.names()

    def exists(self) -> bool:
        """Tell whether this is a member, a folder of members, or the root."""
        return not self.inside or any(f"{name}/".startswith(f"{self.inside}/") for name in self.bundle.names())

    def glob(self, pattern: str) -> Iterator[BundlePath]:
        """Members directly in this folder whose name matches."""
        start = f"{self.inside}/" if self.inside else ""
        for name in self.bundle.names():
            rest = name.removeprefix(start)
            if name.startswith(start) and "/" not in rest and fnmatch.fnmatchcase(rest, pattern):
                yield BundlePath(self.bundle, name)

    def read_bytes(self) -> bytes:
        """The content; raises `OSError` where it is missing or damaged."""
        return self.bundle.read(self.inside)

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The content as text; raises `OSError` for too much of it too, and `UnicodeDecodeError`."""
        size = self.bundle.size(self.inside)
        if size > MOST_BYTES_OF_TEXT:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes; at most {MOST_BYTES_OF_TEXT:,} are read as text")
        return self.read_bytes().decode(encoding, errors)


Place = Path | BundlePath
"""A file or folder that is read: of a file system, or inside a bundle."""


def as_place(path: str | Place) -> Place:
    """A path, or a place inside a bundle, as a place."""
    return path if isinstance(path, BundlePath) else Path(path)


def as_path(place: Place) -> Path:
    """A place to write to; raises `UserError` where it is inside a bundle."""
    if isinstance(place, BundlePath):
        raise UserError(f"{place}: cannot be written: a bundle stays as it is; use the run directory it was packed from")
    return place


def open_place(path: str | Place) -> Place:
    """The folder at a path, or the root of the bundle that lies there; raises `UserError` for a file that is no bundle."""
    place = as_place(path)
    if isinstance(place, BundlePath) or place.is_dir() or not place.exists():
        return place
    return Bundle.open(place).root


def bundle_content(files: Mapping[str, bytes], facts: Mapping[str, Any]) -> bytes:
    """The content of a bundle: equal files (contents by name) and facts for its manifest give equal bytes."""
    listed = {name: {"bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()} for name in sorted(files)}
    manifest = json.dumps({"format": FORMAT, **facts, "files": listed}, indent=2, allow_nan=False) + "\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        archive.comment = MARK + b"0" * DIGEST_CHARACTERS
        for name, content in {MANIFEST: manifest.encode(), **{name: files[name] for name in listed}}.items():
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be a member's name")
            info = zipfile.ZipInfo(name, ZIP_DATE)
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # as on Unix, wherever it is packed
            archive.writestr(info, content)
    content = buffer.getvalue()[:-DIGEST_CHARACTERS]
    return content + _digest(memoryview(content))


def _digest(content: memoryview) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _content(path: Path) -> memoryview:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: no regular file, so no bundle")
        if status.st_size > MOST_BYTES:
            raise UserError(f"{path}: has {status.st_size:,} bytes; a bundle has at most {MOST_BYTES:,}")
        return memoryview(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _members(path: Path, content: memoryview) -> dict[str, memoryview]:
    """The content of each member, found from header to header: views of the file, no copies."""
    members: dict[str, memoryview] = {}
    start = 0
    while content[start : start + 4] == LOCAL and len(content) - start >= LOCAL_HEADER.size:
        _, _, flags, method, _, _, _, packed, size, name_length, extra = LOCAL_HEADER.unpack_from(content, start)
        name_start = start + LOCAL_HEADER.size
        data = name_start + name_length + extra
        name = bytes(content[name_start : name_start + min(name_length, 200)]).decode("ascii", "replace")
        if data > len(content):
            raise UserError(f"{path}: cut short in the header of member {name[:60]!r}; {ADVICE}")
        if not NAME.fullmatch(name) or name in members:
            raise UserError(f"{path}: member {name[:60]!r} is given twice, or no plain name below the bundle; {ADVICE}")
        if flags or method or extra or packed != size:
            raise UserError(f"{path}: member {name} is compressed or encrypted; members of a bundle are stored; {ADVICE}")
        if data + size > len(content):
            raise UserError(f"{path}: cut short: member {name} should have {size:,} bytes; {ADVICE}")
        members[name] = content[data : data + size]
        start = data + size
        if len(members) > MOST_MEMBERS:
            raise UserError(f"{path}: has more than {MOST_MEMBERS} members; {ADVICE}")
    if content[start : start + 4] != DIRECTORY:
        raise UserError(f"{path}: damaged or cut short after {len(members)} members; {ADVICE}")
    return members


def _manifest(path: Path, members: Mapping[str, memoryview]) -> dict[str, Any]:
    if next(iter(members)) != MANIFEST or len(members[MANIFEST]) > MOST_BYTES_OF_TEXT:
        raise UserError(f"{path}: no bundle (its first member is no manifest); {HOW}")
    try:
        manifest = json.loads(bytes(members[MANIFEST]))
        version, files = manifest["format"], manifest["files"]
        if not isinstance(version, int) or not all(isinstance(entry, dict) for entry in files.values()):
            raise TypeError("format or files")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: its manifest cannot be read ({str(error)[:60]}); {ADVICE}") from None
    if version > FORMAT:
        raise UserError(f"{path}: made by a later version (format {version}; known is {FORMAT}); read it with a newer one")
    if version != FORMAT:
        raise UserError(f"{path}: is of format {version}; known is {FORMAT}; {ADVICE}")
    return manifest  # type: ignore[no-any-return]
