"""One image file: upright, on a stated ground, 8 bits, of an allowed format; and what a folder is found to hold."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ofa.cli.main import main
from ofa.data.batches import load_data
from ofa.data.config import DataConfig
from ofa.data.sources.image_file import FORMATS, Reading, read_pixels, size_of, suffixes
from ofa.data.sources.image_folder import list_image_folder
from ofa.errors import UserError

RGB = Reading(channels=3)


def noise(height: int = 24, width: int = 36, channels: int = 3) -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (4, 6, channels), dtype=np.uint8)
    return small.repeat(height // 4, axis=0).repeat(width // 6, axis=1)


def png(path: Path, width: int, height: int, bits: int, colour: int, rows: bytes) -> Path:
    """A PNG by hand, since Pillow does not write 16 bits of colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_photographs_are_turned_as_pillow_turns_them(tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{ending}"
    Image.fromarray(noise()).save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    found = read_pixels(str(path), RGB)
    np.testing.assert_array_equal(found, expected)
    assert size_of(str(path)) == found.shape[:2]
    square = read_pixels(str(path), RGB, 8, lambda height, width: (0.0, 0.0, float(width), float(height)))
    whole = np.asarray(Image.fromarray(expected).resize((8, 8), Image.Resampling.BILINEAR))
    assert np.abs(square.astype(int) - whole).mean() < 12  # JPEG is decoded at a fraction of its size


def test_orientation_can_be_switched_off_and_nonsense_is_ignored(tmp_path: Path) -> None:
    for value in (6, 99):
        exif = Image.Exif()
        exif[0x0112] = value
        Image.fromarray(noise()).save(tmp_path / f"{value}.png", exif=exif)
    assert read_pixels(str(tmp_path / "6.png"), Reading(3, upright=False)).shape == (24, 36, 3)
    assert read_pixels(str(tmp_path / "6.png"), RGB).shape == (36, 24, 3)
    assert read_pixels(str(tmp_path / "99.png"), RGB).shape == (24, 36, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1-tRNS"])
@pytest.mark.parametrize("background", [0, 200, 255])
def test_what_is_transparent_shows_the_ground(tmp_path: Path, mode: str, background: int) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (10, 10, 10, 255)
    pixels[:, 4:] = (90, 90, 90, 0)
    image = Image.fromarray(pixels)
    path = tmp_path / "icon.png"
    if mode == "P":
        palette = Image.new("P", (8, 8), 1)
        palette.putpalette([10, 10, 10, 90, 90, 90])
        palette.paste(0, (0, 0, 4, 8))
        palette.save(path, transparency=1)
    elif mode == "1-tRNS":
        image.convert("L").save(path, transparency=90)
    else:
        image.convert(mode).save(path)
    for channels in (1, 3):
        found = read_pixels(str(path), Reading(channels, background))
        assert (found[:, :4] == 10).all()
        assert (found[:, 4:] == background).all()


@pytest.mark.parametrize("colour", [0, 2, 6], ids=["grey", "rgb", "rgba"])
def test_sixteen_bits_are_refused_not_cut(tmp_path: Path, colour: int) -> None:
    channels = {0: 1, 2: 3, 6: 4}[colour]
    rows = b"".join(b"\0" + bytes(2 * channels * 4) for _ in range(4))
    path = png(tmp_path / "deep.png", 4, 4, 16, colour, rows)
    with pytest.raises(UserError, match=r"deep.png: has pixels of mode .*16.*, more than 8 bits; convert it to 8 bits"):
        read_pixels(str(path), RGB)


def test_sixteen_bits_of_other_formats_are_refused_too(tmp_path: Path) -> None:
    (tmp_path / "deep.ppm").write_bytes(b"P6 2 2 65535 " + bytes(24))
    with pytest.raises(UserError, match="more than 8 bits"):
        read_pixels(str(tmp_path / "deep.ppm"), RGB)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.tif")
    with pytest.raises(UserError, match="more than 8 bits"):
        read_pixels(str(tmp_path / "deep.tif"), RGB)


def test_a_format_that_calls_another_program_is_not_opened_whatever_it_is_called(tmp_path: Path) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "photo.png").write_bytes(eps)
    with pytest.raises(UserError, match=r"photo.png: not a readable image"):
        read_pixels(str(tmp_path / "photo.png"), RGB)
    assert "EPS" not in FORMATS
    assert ".eps" not in suffixes()


@pytest.mark.parametrize("ending", ["gif", "jfif", "jp2", "avif", "bmp", "ppm", "webp", "tga", "JPG"])
def test_what_pillow_reads_is_read(tmp_path: Path, ending: str) -> None:
    if f".{ending.lower()}" not in suffixes():
        pytest.skip(f"this Pillow does not read .{ending}")
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.fromarray(noise()).save(tmp_path / "train" / name / f"0.{ending}")
    assert list_image_folder(tmp_path).census.images == {"train": {"cat": 1, "dog": 1}}
    assert read_pixels(str(tmp_path / "train" / "cat" / f"0.{ending}"), RGB).shape == (24, 36, 3)


def fill(folder: Path, count: int = 1) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(noise()).save(folder / f"{i}.png")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val", "VALID"])
@pytest.mark.parametrize("test", ["test", "testing", "Test"])
def test_the_usual_names_of_parts(tmp_path: Path, name: str, test: str) -> None:
    for part in ("Train", name, test):
        fill(tmp_path / part / "cat")
        fill(tmp_path / part / "dog")
    assert set(list_image_folder(tmp_path).files) == {"train", "validation", "test"}


def test_two_folders_for_one_part_are_refused(tmp_path: Path) -> None:
    for part in ("train", "val", "valid"):
        fill(tmp_path / part / "cat")
    with pytest.raises(UserError, match=r"has both val/ and valid/; keep one"):
        list_image_folder(tmp_path)


def test_subfolders_belong_to_the_class_and_files_without_an_ending_are_looked_into(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "cat" / "monday", 2)
    fill(tmp_path / "train" / "cat" / "tuesday", 1)
    fill(tmp_path / "train" / "dog", 2)
    (tmp_path / "train" / "dog" / "up").symlink_to(tmp_path / "train" / "dog", target_is_directory=True)
    (tmp_path / "train" / "dog" / "photo").write_bytes((tmp_path / "train" / "dog" / "0.png").read_bytes())
    (tmp_path / "train" / "dog" / "README").write_text("dogs")
    (tmp_path / "train" / "dog" / "clip.mp4").write_text("film")
    (tmp_path / "extra").mkdir()
    found = list_image_folder(tmp_path)
    assert found.census.images == {"train": {"cat": 3, "dog": 3}}
    assert found.census.left_out == {"without an ending": 1, ".mp4": 1}
    assert found.census.sentence() == (
        "train: 6 images of 2 classes (3, 3); 2 files left out: 1 without an ending, 1 .mp4; folders not read: extra/"
    )


def test_all_damaged_files_are_in_one_message_and_ofa_data_check_finds_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, count in (("train", 6), ("val", 2)):
        fill(tmp_path / part / "cat", count)
        fill(tmp_path / part / "dog", count)
    good = (tmp_path / "train" / "cat" / "0.png").read_bytes()
    (tmp_path / "train" / "cat" / "1.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "train" / "dog" / "3.png").write_bytes(b"text")
    (tmp_path / "val" / "dog" / "1.png").write_bytes(b"")
    for limit in (1000.0, 1e-6):  # in memory; and decoded batch by batch
        with pytest.raises(UserError, match=r"2 damaged images: .*1\.png: corrupt.*3\.png: not a readable|3\.png.*1\.png"):
            load_data(DataConfig(source=str(tmp_path), workers=0, memory_limit_mb=limit))
    assert main(["data", "check", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "train: 12 images of 2 classes (6, 6)" in captured.out
    assert "3 damaged images: " in captured.err
    assert all(name in captured.err for name in ("cat/1.png", "train/dog/3.png", "val/dog/1.png"))
    for damaged in ("train/cat/1.png", "train/dog/3.png", "val/dog/1.png"):
        (tmp_path / damaged).write_bytes(good)
    assert main(["data", "check", str(tmp_path)]) == 0
    assert "no damaged image" in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 2
    assert main(["data", "check"]) == 2


def test_a_killed_worker_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "train" / "cat", 4)
    fill(tmp_path / "train" / "dog", 4)

    def end(*_: object) -> None:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("ofa.data.decoding.read_pixels", end)
    with pytest.raises(UserError, match=r"a process that decodes images ended: .*set `workers: 0`"):
        load_data(DataConfig(source=str(tmp_path), workers=1))


def test_a_sound_image_in_every_mode(tmp_path: Path) -> None:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"):
        buffer = io.BytesIO()
        Image.fromarray(noise()).convert(mode).save(buffer, "JPEG" if mode in ("CMYK", "YCbCr") else "PNG")
        (tmp_path / "image").write_bytes(buffer.getvalue())
        for channels in (1, 3):
            assert read_pixels(str(tmp_path / "image"), Reading(channels)).shape == (24, 36, channels)
