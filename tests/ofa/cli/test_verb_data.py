"""`ofa data`: from a path, from Debian's package, from the official address; digests decide."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from ofa.cli.main import main
from ofa.data.sources import download, fashion_mnist


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with four small files that take the place of the published ones; no network, not Debian; OFA_DATA set."""
    folder = tmp_path / "published"
    folder.mkdir()
    digests = {}
    for name in fashion_mnist.FILES:
        content = name.encode() * 10
        (folder / name).write_bytes(gzip.compress(content))
        digests[name] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(fashion_mnist, "FILES", digests)
    monkeypatch.setenv("OFA_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(download, "DEBIAN_FOLDER", tmp_path / "no-debian")
    monkeypatch.setattr(download.os, "geteuid", lambda: 1000)

    def offline(address: str, timeout: float) -> Any:
        raise urllib.error.URLError("network is unreachable")

    monkeypatch.setattr(download.urllib.request, "urlopen", offline)
    return folder


def installed(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "data" / "fashion-mnist").glob("*"))


def test_from_a_path_and_then_it_is_there(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fashion-mnist", "--from", str(published)]) == 0
    assert f"4 files, digests as published ({published})" in capsys.readouterr().out
    assert installed(tmp_path) == sorted(fashion_mnist.FILES)
    assert main(["data", "fashion-mnist", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["source"] == "already there"
    assert shown["sha256_of_content"] == fashion_mnist.FILES


def test_one_wrong_file_and_nothing_is_installed(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = published / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(b"tampered"))
    assert main(["data", "fashion-mnist", "--from", str(published)]) == 2
    assert "t10k-labels-idx1-ubyte.gz: SHA-256 of its content is" in capsys.readouterr().err
    assert installed(tmp_path) == []
    path.unlink()
    assert main(["data", "fashion-mnist", "--from", str(published)]) == 2
    assert "t10k-labels-idx1-ubyte.gz: no such file" in capsys.readouterr().err
    assert main(["data", "fashion-mnist", "--from", str(published / "none")]) == 2
    assert "none: no such folder" in capsys.readouterr().err


def test_a_damaged_copy_is_replaced(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "DEBIAN_FOLDER", published)
    assert main(["data", "fashion-mnist"]) == 0
    path = tmp_path / "data" / "fashion-mnist" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:20])
    assert main(["data", "fashion-mnist"]) == 0
    assert path.read_bytes() == (published / path.name).read_bytes()


def test_without_debian_it_is_downloaded_and_the_mirror_is_next(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def answer(address: str, timeout: float) -> io.BytesIO:
        asked.append(address)
        if address.startswith(download.ADDRESSES[0]):
            raise urllib.error.URLError("network is unreachable")
        return io.BytesIO((published / address.rpartition("/")[2]).read_bytes())

    monkeypatch.setattr(download.urllib.request, "urlopen", answer)
    assert main(["data", "fashion-mnist", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == download.ADDRESSES[1]
    assert len(asked) == 5
    assert installed(tmp_path) == sorted(fashion_mnist.FILES)


def test_a_download_of_another_content_is_refused(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download.urllib.request, "urlopen", lambda address, timeout: io.BytesIO(gzip.compress(b"evil")))
    assert main(["data", "fashion-mnist"]) == 2
    assert "SHA-256 of its content is" in capsys.readouterr().err
    assert installed(tmp_path) == []


def test_when_nothing_works_every_reason_is_given_in_one_line(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fashion-mnist", "--apt"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ofa data: error: fashion-mnist could not be had: no ")
    assert "this is not root on Debian" in last
    assert all(address in last for address in download.ADDRESSES)
    assert last.endswith("give a folder with --from PATH")


@pytest.fixture
def debian_root(published: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Root on Debian, where apt-get installs the four files; the commands that it is run with."""
    commands = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if "install" in command:
            shutil.copytree(published, download.DEBIAN_FOLDER)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(download.os, "geteuid", lambda: 0)
    monkeypatch.setattr(download.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(download.subprocess, "run", run)
    return commands


def test_nothing_is_installed_unasked(
    debian_root: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "fashion-mnist"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "--apt installs Debian's package dataset-fashion-mnist" in last
    assert debian_root == []
    assert installed(tmp_path) == []
    assert main(["data", "fashion-mnist", "--apt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == "Debian package dataset-fashion-mnist"
    assert [command[:2] for command in debian_root] == [["apt-get", "update"], ["apt-get", "install"]]
    assert installed(tmp_path) == sorted(fashion_mnist.FILES)


@pytest.mark.parametrize("words", [["elpv"], ["check", "photos"], ["fashion-mnist", "--from", "photos"]])
def test_apt_is_for_one_data_set(words: list[str], debian_root: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", *words, "--apt"]) == 2
    assert "--apt goes with fashion-mnist alone, and not with --from" in capsys.readouterr().err
    assert debian_root == []


def test_an_unknown_data_set_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["data", "imagenet"])
    assert caught.value.code == 2
    assert "fashion-mnist" in capsys.readouterr().err
