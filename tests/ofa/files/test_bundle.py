"""Bundles: equal content makes equal bytes, what is damaged or crafted is one line, and nothing is written or inflated."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from ofa.errors import UserError
from ofa.files.atomic import read_json, sha256
from ofa.files.bundle import (
    DIGEST_CHARACTERS,
    MANIFEST,
    MARK,
    ZIP_DATE,
    Bundle,
    BundlePath,
    _digest,
    as_path,
    bundle_content,
    open_place,
)
from ofa.files.schema import load_yaml

STORED = zipfile.ZIP_STORED
FILES = {"a.yaml": b"x: 1\n", "folder/b.json": b'{"y": 2}', "folder/inner/c.bin": bytes(range(256))}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "run.ofa"
    path.write_bytes(bundle_content(FILES, {"fact": "told"}))
    return path


def sealed(files: dict[str, bytes], tmp_path: Path, *, compression: int = STORED, manifest: object = None) -> Path:
    """A bundle that a stranger makes: any members, any manifest, and a digest that is right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = MARK + b"0" * DIGEST_CHARACTERS
        listed = json.loads(bundle_members(bundle_content({k: v for k, v in files.items() if k in FILES}, {}))[MANIFEST])
        archive.writestr(zipfile.ZipInfo(MANIFEST, ZIP_DATE), json.dumps(listed if manifest is None else manifest))
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), content, compression)
    content = buffer.getvalue()[:-DIGEST_CHARACTERS]
    path = tmp_path / "crafted.ofa"
    path.write_bytes(content + _digest(memoryview(content)))
    return path


def bundle_members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_equal_files_make_equal_bytes_that_any_tool_lists() -> None:
    content = bundle_content(FILES, {"fact": "told"})
    assert content == bundle_content(dict(reversed(FILES.items())), {"fact": "told"})
    members = bundle_members(content)
    assert next(iter(members)) == MANIFEST
    assert {name: members[name] for name in FILES} == FILES
    assert json.loads(members[MANIFEST])["fact"] == "told"


def test_a_place_in_a_bundle_reads_as_a_path_does(bundle: Path) -> None:
    root = open_place(bundle)
    assert isinstance(root, BundlePath)
    assert root.name == "run.ofa"
    assert (root / "folder").exists()
    assert not (root / "folder").is_file()
    assert not (root / "fold").exists()
    inner = root / "folder" / "inner" / "c.bin"
    assert (inner.name, inner.stem, inner.suffix, str(inner)) == ("c.bin", "c", ".bin", f"{bundle}/folder/inner/c.bin")
    assert inner.read_bytes() == FILES["folder/inner/c.bin"]
    assert sha256(inner) == Bundle.open(bundle).manifest["files"]["folder/inner/c.bin"]["sha256"]
    assert [str(place) for place in (root / "folder").glob("*.json")] == [f"{bundle}/folder/b.json"]
    assert read_json(inner.with_name("c.bin").bundle.root / "folder" / "b.json") == {"y": 2}
    assert load_yaml(root / "a.yaml") == {"x": 1}
    with pytest.raises(UserError, match=r"run\.ofa/nothing\.json: no such file"):
        read_json(root / "nothing.json")
    with pytest.raises(UserError, match=r"run\.ofa/a\.yaml: cannot be written: a bundle stays as it is"):
        as_path(root / "a.yaml")


def test_every_flipped_bit_is_one_line(bundle: Path, tmp_path: Path) -> None:
    content = bundle.read_bytes()
    damaged = tmp_path / "damaged.ofa"
    for place in range(len(content)):
        damaged.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        with pytest.raises(UserError) as raised:
            Bundle.open(damaged)
        assert "\n" not in str(raised.value)


def test_every_truncation_is_one_line(bundle: Path, tmp_path: Path) -> None:
    content = bundle.read_bytes()
    cut = tmp_path / "cut.ofa"
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut short|no bundle"):
            Bundle.open(cut)


@pytest.mark.parametrize("name", ["../out.yaml", "/etc/passwd", "folder/../../out", "C:\\out", ".hidden", "a//b", "é", ""])
def test_a_path_out_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no plain name below the bundle"):
        Bundle.open(sealed({name: b"x"}, tmp_path))


@pytest.mark.parametrize(
    ("files", "manifest", "compression", "message"),
    [
        ({"a.yaml": bytes(2**20)}, None, zipfile.ZIP_DEFLATED, "compressed or encrypted"),
        ({"extra.yaml": b""}, None, STORED, "member extra.yaml of 0 bytes is not what its manifest lists"),
        ({}, {"format": 1, "files": {"a.yaml": {"bytes": 1}}}, STORED, "member a.yaml of its manifest is missing"),
        ({}, {"format": 2, "files": {}}, STORED, r"made by a later version \(format 2; known is 1\)"),
        ({}, {"format": "1", "files": {}}, STORED, "its manifest cannot be read"),
        ({}, {"format": 0, "files": {}}, STORED, "is of format 0; known is 1"),
        ({}, [1], STORED, "its manifest cannot be read"),
        ({}, {"format": 1, "files": [1]}, STORED, "its manifest cannot be read"),
    ],
)
def test_what_a_stranger_may_make_is_one_line(
    files: dict[str, bytes], manifest: object, compression: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        Bundle.open(sealed(files, tmp_path, compression=compression, manifest=manifest))


def test_a_member_other_than_its_manifest_lists_cannot_be_read(tmp_path: Path) -> None:
    manifest = {"format": 1, "files": {"a.json": {"bytes": 2, "sha256": "0" * 64}}}
    root = Bundle.open(sealed({"a.json": b"{}"}, tmp_path, manifest=manifest)).root
    with pytest.raises(UserError, match=r"a\.json: cannot be read: .*another digest than its manifest lists"):
        read_json(root / "a.json")


def test_sizes_that_are_not_there_allocate_nothing(bundle: Path, tmp_path: Path) -> None:
    content = bytearray(bundle.read_bytes())
    content[18:26] = (2**32 - 1).to_bytes(4, "little") * 2  # both sizes of the manifest
    path = tmp_path / "bomb.ofa"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cut short: member manifest\.json should have 4,294,967,295 bytes"):
        Bundle.open(path)


def test_what_is_no_bundle_is_said(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a run")
    with pytest.raises(UserError, match="no bundle"):
        open_place(other)
    assert open_place(tmp_path) == tmp_path
    assert open_place(tmp_path / "nothing") == tmp_path / "nothing"
    with pytest.raises(UserError, match="no such file"):
        Bundle.open(tmp_path / "nothing.ofa")
    with pytest.raises(UserError, match="no regular file"):
        Bundle.open("/dev/zero")


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.ofa"
    with open(path, "wb") as file:
        file.truncate(2**31)  # sparse
    with pytest.raises(UserError, match="a bundle has at most 1,073,741,824"):
        Bundle.open(path)
