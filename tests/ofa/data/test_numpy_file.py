"""Sizes that files claim are checked before anything of that size is made."""

from __future__ import annotations

import gzip
import io
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ofa.data.sources import fashion_mnist, numpy_file
from ofa.data.sources.numpy_file import load_npy, load_npz, memory_bytes
from ofa.data.sources.read_source import read_source
from ofa.errors import UserError

GB = 2**30


def header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """The beginning of an `.npy`, whatever follows."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})  # type: ignore[no-untyped-call]
    return file.getvalue()


def zeros(path: Path, name: str, size: int, begin: bytes = b"") -> Path:
    """A zip file of one member of so many zeros, in a thousandth of the room."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as file:
        file.write(begin)
        for _ in range(size // 2**24):
            file.write(bytes(2**24))
    return path


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_file, "memory_bytes", lambda: GB // 8)


def test_arrays_are_read(tmp_path: Path) -> None:
    arrays = {"x": np.arange(6).reshape(2, 3), "names": np.array(["a", "bc"]), "none": np.zeros((0, 4))}
    arrays["one"] = np.array(3.0)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
        found = load_npz(tmp_path / "a.npz")
        assert found.keys() == arrays.keys()
        assert all(np.array_equal(found[name], array) for name, array in arrays.items())
    np.save(tmp_path / "x.npy", arrays["x"])
    assert np.array_equal(load_npy(tmp_path / "x.npy"), arrays["x"])
    assert (memory_bytes() or GB) >= GB


def test_a_small_file_that_unpacks_to_more_than_memory_is_refused_unread(tmp_path: Path, small_machine: None) -> None:
    size = GB // 4
    path = zeros(tmp_path / "bomb.npz", "x_train.npy", size, header((size,)))
    assert path.stat().st_size < size / 500
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"bomb\.npz: holds 0\.268 GB unpacked; this machine has 0\.134 GB of memory"):
        read_source(str(path), tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000


@pytest.mark.parametrize("shape", [(10**13,), (2**40, 2**40), (-5,), (4,)])
def test_a_header_that_claims_another_size_than_the_file_has_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """numpy makes the array first, and reads then."""
    content = header(shape) + bytes(100)
    (tmp_path / "x.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    for load, place in ((load_npy, r"x\.npy"), (load_npz, r"a\.npz: x\.npy")):
        path = tmp_path / ("x.npy" if load is load_npy else "a.npz")
        with pytest.raises(UserError, match=rf"{place}: its header claims -?\d+ bytes of numbers; the file has 100"):
            load(path)


def test_objects_are_not_unpickled_and_what_is_no_array_is_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    with pytest.raises(UserError, match=r"objects\.npz: x\.npy: holds Python objects; only numbers and text are read"):
        load_npz(tmp_path / "objects.npz")
    for name, content in (("text", b"hello"), ("cut", header((4,))[:20]), ("empty", b"")):
        path = tmp_path / f"{name}.npy"
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{name}.npy: cannot be read as an array"):
            load_npy(path)
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as archive:
            archive.writestr("x.npy", content)
        with pytest.raises(UserError, match=f"{name}.npz: cannot be read as arrays"):
            load_npz(tmp_path / f"{name}.npz")
    (tmp_path / "no.npz").write_bytes(b"hello")
    with pytest.raises(UserError, match=r"no\.npz: cannot be read as arrays: File is not a zip file"):
        load_npz(tmp_path / "no.npz")
    with pytest.raises(UserError, match=r"gone\.npz: no such file"):
        load_npz(tmp_path / "gone.npz")


def test_a_small_gzip_that_stands_for_gigabytes_is_read_no_further_than_the_published_size(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    block = gzip.compress(bytes(2**26), 9)
    path.write_bytes(block * 32)  # 2 GB; gzip files may be put one after the other
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz: unpacks to more than 47040016 bytes; run: ofa data"):
        fashion_mnist.checked_content(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 300_000
