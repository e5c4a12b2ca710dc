"""Files of torch.save: state dicts are read, and what is none, or runs code, or is damaged, is one line."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ofa.errors import UserError
from ofa.official.torch_file import read_state_dict

STATE = OrderedDict(weight=torch.arange(2000.0).view(40, 50), bias=torch.ones(3))


class Trap:
    """A pickle that would leave a file behind."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("trap-was-sprung",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("wrap", [dict, lambda state: {"state_dict": state, "epoch": 3, "best_acc": 0.5}])
def test_tensors_are_read_also_out_of_a_checkpoint(tmp_path: Path, wrap: Any, zipped: bool) -> None:
    torch.save(wrap(STATE), tmp_path / "net", _use_new_zipfile_serialization=zipped)
    found = read_state_dict(tmp_path / "net")
    assert list(found) == list(STATE)
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def test_a_parameter_is_read_as_its_values(tmp_path: Path) -> None:
    torch.save({"base": nn.Parameter(torch.ones(2))}, tmp_path / "net")
    assert not read_state_dict(tmp_path / "net")["base"].requires_grad


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; download it again"),
        (b"<!DOCTYPE html>\n<html>Not Found</html>", "is a web page, not weights; download the file itself"),
        (b"\n  <html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "is a pointer to a file in Git LFS"),
        (b"404: Not Found", r"is text \('404: Not Found' ...\), not weights of torch.save"),
        (b"\x00\x01\x02 noise", r"is no file of torch.save, or a damaged one \("),
        (b"PK\x03\x04 cut", "is cut short or damaged .*; download it again"),
    ],
)
def test_what_people_save_in_place_of_weights(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(UserError, match=rf"net\.pth: {message}") as caught:
        read_state_dict(tmp_path / "net.pth")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pth: no such file"):
        read_state_dict(tmp_path / "none.pth")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (torch.ones(3), "holds a Tensor; expected a state dict"),
        ([torch.ones(3)], "holds a list; expected"),
        ({}, "holds nothing; expected"),
        ({"state_dict": {}}, "holds nothing; expected"),
        ({"net": {"weight": torch.ones(3)}}, "entry 'net' is a dict; expected"),
        ({3: torch.ones(3)}, "entry '3' is a Tensor; expected"),
        ({"weight": torch.eye(3).to_sparse()}, "entry 'weight' is a Tensor; expected"),
    ],
)
def test_what_is_no_state_dict(tmp_path: Path, saved: Any, message: str) -> None:
    torch.save(saved, tmp_path / "net.pth")
    with pytest.raises(UserError, match=message):
        read_state_dict(tmp_path / "net.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": STATE, "args": Trap()}, "net.pth", _use_new_zipfile_serialization=zipped)
    Path("plain.pkl").write_bytes(pickle.dumps(Trap()))
    torch.save(nn.Linear(2, 2), "module.pth")
    for name, forbidden in (("net.pth", r"\w+\.mkdir"), ("plain.pkl", ""), ("module.pth", r"torch\.nn\.\S*Linear")):
        with pytest.raises(UserError) as caught:
            read_state_dict(name)
        assert "\n" not in str(caught.value)
        if forbidden:
            assert caught.match(rf"holds Python objects \({forbidden}\) besides tensors; it is not opened")
    assert not Path("trap-was-sprung").exists()


def refusal(path: Path) -> str | None:
    try:
        read_state_dict(path)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("zipped", [True, False])
def test_every_cut_and_many_flips_are_one_line_or_tensors(tmp_path: Path, zipped: bool) -> None:
    torch.save(
        {"state_dict": OrderedDict(w=torch.ones(5), v=torch.ones(2))},
        tmp_path / "whole",
        _use_new_zipfile_serialization=zipped,
    )
    content = (tmp_path / "whole").read_bytes()
    path = tmp_path / "damaged"
    refused = 0
    step = max(1, len(content) // 60)
    damaged = [content[:i] for i in range(0, len(content), step)]
    damaged += [content[:i] + bytes([content[i] ^ 0x41]) + content[i + 1 :] for i in range(0, len(content), step)]
    for changed in damaged:
        path.write_bytes(changed)
        line = refusal(path)
        refused += line is not None
        assert "\n" not in (line or "")
    assert refused >= len(damaged) // 2


def test_another_zip_is_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(UserError, match=r"other\.zip: is "):
        read_state_dict(tmp_path / "other.zip")
