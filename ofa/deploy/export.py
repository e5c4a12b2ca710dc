"""Export a subnet to the formats of other runtimes; each file is compared with the network before it is kept."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ofa.deploy.check import Check, compare
from ofa.deploy.deployable import Photos, network_logits
from ofa.deploy.formats.catalogue import check_installed, version_of
from ofa.deploy.formats.format import Deployable, Format, Precision
from ofa.errors import UserError
from ofa.files.atomic import sha256
from ofa.files.vouched import write_vouched_json
from ofa.files.whole_folder import whole_folder

FORMAT = 1
SHOWN = 200
"""Characters shown of the message of a converter, at most."""


@dataclass(frozen=True)
class Exported:
    """One file of an export."""

    format: str
    precision: Precision
    sha256: dict[str, str]
    """SHA-256 of each file by its name; the runtime opens the first."""
    bytes: int
    """Size of all files together."""
    check: Check | None
    """None: nothing here can run the file."""
    tools: dict[str, str | None]
    """Versions of the packages that wrote the file."""

    @property
    def file(self) -> str:
        """The name of the file that the runtime opens."""
        return next(iter(self.sha256))


def export(
    source: Deployable,
    choices: Sequence[tuple[Format, Precision]],
    calibration: Photos | None,
    check_on: Photos,
    out: Path,
) -> list[Exported]:
    """Write a folder with a file per format and precision, example programs that run them, and `export.json`.

    The folder is written as a whole or not at all: if one file exceeds its tolerance, nothing is written; an existing export
    is replaced. `calibration` shows the range of activations, which int8 requires; on `check_on`, file and network are
    compared.

    Raises:
        UserError: a package is missing, a format cannot express the network, or a file differs too much from the network.
    """
    for format, precision in choices:
        check_installed(format)
        if precision not in format.precisions:
            raise UserError(f"format {format.name}: has no {precision}; it has {' and '.join(format.precisions)}")
        if precision == "int8" and calibration is None:
            raise UserError(
                "int8 needs images that show the range of activations, and the run of this subnet is not here: "
                "give --run RUN or --calibration FOLDER"
            )
    expected = network_logits(source, check_on.pixels)
    exported = []
    with whole_folder(out) as folder:
        for format, precision in choices:
            file = folder / f"subnet-{precision}{format.suffix}"
            with _errors_of_tools(format, precision):
                files = format.convert(source, precision, None if calibration is None else calibration.pixels, file)
                runner = format.runner(file, source.image)
                check = None if runner is None else compare(runner, check_on.pixels, expected, check_on.labels)
            wrong = None if check is None else check.complaint(precision)
            if wrong is not None:
                raise UserError(f"{format.name} {precision}: not written: {wrong}")
            tools = {package: version_of(package) for package in format.packages}
            size = sum(written.stat().st_size for written in files)
            digests = {written.name: sha256(written) for written in files}
            exported.append(Exported(format.name, precision, digests, size, check, tools))
            _copy_example(format, folder)
        write_vouched_json(folder / "export.json", _document(source, exported, calibration, check_on))
    return exported


@contextlib.contextmanager
def _errors_of_tools(format: Format, precision: Precision) -> Iterator[None]:
    """Turn an error that a converter or runtime raises into one line; one of this program keeps its traceback."""
    try:
        yield
    except FileNotFoundError as error:  # of a file of the tool: what is written here is not looked for
        raise UserError(f"format {format.name}: {precision}: {error.filename}: {error.strerror}") from error
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        ours = place is None or place.tb_frame.f_globals.get("__name__", "").startswith("ofa.")
        if ours and not isinstance(error, RuntimeError):  # which libraries in C++ raise, without a frame of their own
            raise
        said = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
        text = f"format {format.name}: {precision}: {type(error).__name__}: {said[0][:SHOWN]}"
        raise UserError(f"{text}; it cannot express this network, or its tools failed") from error


def _copy_example(format: Format, folder: Path) -> None:
    if format.example is not None:
        with resources.as_file(resources.files("ofa.deploy") / "examples" / format.example) as program:
            shutil.copyfile(program, folder / format.example)


def _document(
    source: Deployable, exported: Sequence[Exported], calibration: Photos | None, check_on: Photos
) -> dict[str, Any]:
    image = source.image
    return {
        "format": FORMAT,
        "subnet": source.subnet.to_dict(),
        "fingerprint": source.space.fingerprint,
        "title": source.facts["title"],
        "classes": json.loads(source.facts["classes"]),
        "input": {
            "layout": "batch, height, width, channels",
            "type": "uint8" if image.as_uint8 else "float32",
            "range": [0, 255] if image.as_uint8 else [0, 1],
            "side": image.side,
            "channels": len(image.mean),
            "normalisation": "inside",
        },
        "output": "logits, float32[batch, classes]",
        "calibration": None if calibration is None else {"images": len(calibration), "source": calibration.source},
        "checked_on": {"images": len(check_on), "source": check_on.source},
        "files": [asdict(one) for one in exported],
    }
