"""What vouches for itself is refused after any change, and what earlier versions wrote is read as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ofa.errors import UserError
from ofa.files.schema import load_yaml
from ofa.files.vouched import (
    check_tensors,
    check_text,
    read_vouched_json,
    read_vouched_line,
    vouch_for_tensors,
    vouched_line,
    vouched_text,
    write_vouched_json,
)

DATA = {"top1": 0.8125, "genes": [1, 0, 2], "nested": {"name": "größe", "none": None}}


def test_json_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_vouched_json(path, DATA)
    assert read_vouched_json(path, "") == DATA
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))  # another layout says the same
    assert read_vouched_json(path, "") == DATA
    path.write_text(json.dumps(DATA))  # as versions before 0.2 wrote it
    assert read_vouched_json(path, "") == DATA


def test_another_file_in_its_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_vouched_json(path, DATA)
    assert read_vouched_json(path, "", ("top1", "genes")) == DATA
    with pytest.raises(UserError, match=rf"^{path}: another file is in its place: key 'split' is missing; delete it$"):
        read_vouched_json(path, "delete it", ("top1", "split"))


def test_no_flipped_bit_of_json_or_of_a_line_is_taken_for_another_value(tmp_path: Path) -> None:
    path, line = tmp_path / "a.json", vouched_line(DATA).encode()
    write_vouched_json(path, DATA)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(400):
        for original in (content, line):
            changed = bytearray(original)
            changed[rng.integers(len(original))] ^= 1 << rng.integers(8)
            path.write_bytes(changed)
            try:
                if original is content:
                    found = read_vouched_json(path, "")
                else:
                    found = read_vouched_line(changed.decode("utf-8", "replace"), "line", "")
            except UserError:
                continue
            assert found == DATA  # a flip in the layout


NO_OBJECTS = ("[1]", "3", '"text"', "null", "{", "[" * 100_000, "9" * 5000, '{"a": 1, "sha256": "0"}', '{"vouched": true}')


@pytest.mark.parametrize("text", NO_OBJECTS, ids=range(len(NO_OBJECTS)))
def test_what_is_no_vouched_object_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json"):
        read_vouched_json(tmp_path / "a.json", "make it again")
    with pytest.raises(UserError, match="make it again"):
        read_vouched_line(text, "log:3", "make it again")


def test_no_flipped_bit_of_tensors_is_taken_for_weights() -> None:
    tensors = {"b": torch.randn(3, 4), "a": torch.arange(5), "half": torch.ones(3, dtype=torch.float16)}
    content = vouch_for_tensors(save(tensors, metadata={"state": "x"}))
    check_tensors(content, "w", "")
    for name, tensor in load(content).items():
        assert torch.equal(tensor, tensors[name])
    rng = np.random.default_rng(0)
    accepted = 0
    for _ in range(600):
        changed = bytearray(content)
        changed[rng.integers(len(content))] ^= 1 << rng.integers(8)
        try:
            check_tensors(bytes(changed), "w", "copy it again")
            found = load(bytes(changed))
        except (UserError, SafetensorError):
            continue
        accepted += 1
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert accepted < 60  # spaces that pad the header, and other metadata
    check_tensors(save(tensors), "w", "")  # as versions before 0.2 wrote it
    for cut in (0, 3, 8, 40, len(content) - 1):
        with pytest.raises(UserError, match="w: "):
            check_tensors(content[:cut], "w", "copy it again")


TEXT = "images: 60\nname: größe\n"


def test_yaml_that_vouches_for_itself_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for content in (vouched_text(TEXT), vouched_text(TEXT).replace("\n", "\r\n"), TEXT):
        path.write_bytes(content.encode())
        assert load_yaml(path) == {"images": 60, "name": "größe"}
    path.write_text("".join(vouched_text(TEXT).replace("60", "80").splitlines(keepends=True)[1:-1]))
    assert load_yaml(path)["images"] == 80  # changed on purpose


def test_no_change_of_vouched_yaml_is_taken_for_another_value(tmp_path: Path) -> None:
    path, content = tmp_path / "a.yaml", vouched_text(TEXT).encode()
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(UserError, match=rf"^{path}"):
                load_yaml(path)
        path.write_bytes(content[:place])
        with pytest.raises(UserError):
            load_yaml(path)
    for lines in (content.splitlines(keepends=True)[1:], content.splitlines(keepends=True)[:-1]):
        with pytest.raises(UserError, match="damaged: its content is not what was written"):
            check_text(b"".join(lines).decode(), "place")
