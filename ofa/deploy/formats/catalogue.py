"""The formats by name, and which of them are installed."""

from __future__ import annotations

from importlib import import_module, metadata

from ofa.deploy.formats.format import Format
from ofa.errors import UserError

FORMATS = {
    "onnx": "onnx_format:OnnxFormat",
    "openvino": "openvino_format:OpenvinoFormat",
    "litert": "tflite.litert_format:LitertFormat",
    "tflm": "tflite.tflm_format:TflmFormat",
    "executorch": "executorch_format:ExecutorchFormat",
    "ethos-u": "tflite.ethos_u_format:EthosUFormat",
    "coreml": "coreml_format:CoremlFormat",
}
"""Module and class of each format by name; a new format needs a file and a line here."""


def find_format(name: str) -> Format:
    """The format of a name; raises `UserError` if it is unknown."""
    if name not in FORMATS:
        raise UserError(f"format {name!r}: unknown; formats are {', '.join(FORMATS)}")
    module, cls = FORMATS[name].split(":")
    made: Format = getattr(import_module(f"ofa.deploy.formats.{module}"), cls)()
    return made


def missing_packages(format: Format) -> list[str]:
    """The distributions that a format needs and that are not installed."""
    return [package for package in format.packages if version_of(package) is None]


def version_of(package: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_installed(format: Format) -> None:
    """Raise `UserError` if a distribution is missing; the message names the extra that installs it."""
    missing = missing_packages(format)
    if missing:
        raise UserError(
            f"format {format.name}: {' and '.join(missing)} not installed; install with: "
            f"pip install 'ofa-energy[{format.extra}]'"
        )
