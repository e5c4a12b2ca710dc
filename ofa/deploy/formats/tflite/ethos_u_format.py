"""Arm Ethos-U: the int8 file of LiteRT, compiled by Vela for two accelerators, with the compiler's estimates."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

from ofa.deploy.formats.format import Deployable, Images, Precision, Runner
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.deploy.formats.quiet import quiet
from ofa.deploy.formats.tflite.litert_format import LitertFormat
from ofa.deploy.formats.tflite.tflite_file import rewrite
from ofa.errors import UserError
from ofa.files.atomic import atomic_write, write_json

ACCELERATORS = {
    "ethos-u55-128": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65-256": ("Ethos_U65_High_End", "Shared_Sram"),
}
"""System configuration and memory mode by accelerator, both from the compiler's own Arm/vela.ini. Feature maps are in SRAM,
weights in flash (U55) or DRAM (U65)."""
ON_NPU = "NPU operators"


class EthosUFormat:
    """The int8 file, a compiled file for each accelerator, and the compiler's estimates of time and memory.

    The int8 file is checked in LiteRT; what the compiler makes of it runs on an accelerator only. A network with an
    operation that would stay on the processor is refused.
    """

    name = "ethos-u"
    suffix = ".tflite"
    extra = "ethos-u"
    packages = (*LitertFormat.packages, "ethos-u-vela")
    precisions: tuple[Precision, ...] = ("int8",)
    runs_here = False
    example = None

    def convert(self, source: Deployable, precision: Precision, calibration: Images | None, file: Path) -> list[Path]:
        """Implement `Format.convert`."""
        LitertFormat().convert(source, precision, calibration, file)
        content = rewrite(file.read_bytes(), planned=False)
        files, estimates = [file], {}
        for accelerator in ACCELERATORS:
            compiled, estimates[accelerator] = compile_for(content, accelerator)
            files.append(file.with_name(f"subnet-{accelerator}.tflite"))
            atomic_write(files[-1], compiled)
        files.append(file.with_name("ethos-u.json"))
        write_json(files[-1], estimates)
        return files

    def runner(self, file: Path, image: ImageInput) -> Runner:
        """Implement `Format.runner`: of the int8 file, in LiteRT."""
        return LitertFormat().runner(file, image)


def compile_for(content: bytes, accelerator: str) -> tuple[bytes, dict[str, float | str]]:
    """Compile an int8 .tflite file for an accelerator; returns the compiled file, and the compiler's estimates.

    Raises:
        UserError: an operation would stay on the processor.
    """
    system, memory = ACCELERATORS[accelerator]
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "subnet.tflite")
        model.write_bytes(content)
        words = [str(model), "--output-dir", folder, "--config", "Arm/vela.ini", "--accelerator-config", accelerator]
        printed = _run_vela([*words, "--system-config", system, "--memory-mode", memory])
        compiled = Path(folder, "subnet_vela.tflite").read_bytes()
        with open(next(Path(folder).glob("*_summary_*.csv")), newline="") as file:
            row = next(csv.DictReader(file))
    on_npu = next(line for line in printed.splitlines() if ON_NPU in line)
    if "100.0%" not in on_npu:
        raise UserError(f"format ethos-u: {accelerator}: operations would run on the processor: {on_npu.strip()}")
    return compiled, _estimates(row, system, memory)


def _run_vela(words: list[str]) -> str:
    with tempfile.TemporaryFile() as file:
        with quiet(file.fileno()):
            from ethosu.vela import vela

            try:
                vela.main(words)
            except (RuntimeError, SystemExit) as error:
                said = str(error).strip().splitlines() or ["no message"]
                raise UserError(f"format ethos-u: the compiler stopped: {said[0][:200]}") from None
        file.seek(0)
        return file.read().decode()


def _estimates(row: dict[str, Any], system: str, memory: str) -> dict[str, float | str]:
    return {
        "latency_ms": 1e3 * float(row["inference_time"]),
        "sram_kb": float(row["sram_memory_used"]),
        "flash_kb": float(row["off_chip_flash_memory_used"]) + float(row["dram_memory_used"]),
        "clock_mhz": 1e-6 * float(row["core_clock"]),
        "system": system,
        "memory": memory,
    }
