"""Show what this installation has, and what will be slow here and why, on one screen to paste into a bug report.

Versions, processors and threads, GPUs, energy counters, extras, data. Nothing is measured, and nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import Any

from ofa.energy.meter import EnergyMeter
from ofa.runs.zoo import zoo_names

EXAMPLE = "ofa doctor"
LIBRARIES = ("torch", "numpy", "scipy", "optuna", "pyyaml", "matplotlib", "safetensors")
EXTRAS = {
    "images": ("pillow",),
    "tensorboard": ("tensorboard",),
    "report": ("vl-convert-python",),
    "gpu": ("nvidia-ml-py",),
    "zeus": ("zeus",),
    "codecarbon": ("codecarbon",),
    "postgresql": ("psycopg",),
}
"""Distributions of each extra, beside those of the formats."""
SMALL_SHM_MB = 512
GB = 2**30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb has no options of its own."""


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Look around; returns what was found."""
    from ofa.deploy.formats.catalogue import version_of

    facts: dict[str, Any] = {
        "ofa": version_of("ofa-energy"),
        "python": f"{platform.python_version()} on {platform.platform()}",
        "libraries": {name: version_of(name) for name in LIBRARIES},
        "processor": _processor(),
        "gpus": _gpus(),
        "energy": _energy(),
        "extras": _extras(),
        "data": _data(),
    }
    facts["advice"] = _advice(facts)
    if not args.json:
        for name, text in _lines(facts):
            print(f"{name:11} {text}")
    return facts


def _processor() -> dict[str, Any]:
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    instructions = torch.backends.cpu.get_cpu_capability()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    shared = Path("/dev/shm")
    space = os.statvfs(shared) if shared.is_dir() else None
    return {
        "cores": usable,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "instructions": instructions,
        "memory_gb": None if memory is None else round(memory / GB, 1),
        "shared_memory_mb": None if space is None else space.f_blocks * space.f_frsize // 2**20,
    }


def _gpus() -> list[dict[str, Any]]:
    import torch

    found = []
    for i in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(i)
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        found.append({"name": facts.name, "memory_gb": round(facts.total_memory / GB, 1), "bf16": bf16})
    return found


def _energy() -> dict[str, Any]:
    meter = EnergyMeter("cpu")
    meter.start()
    reading = meter.stop()
    return {"counters": meter.available, "source": reading.source, "missing": list(reading.missing)}


def _extras() -> dict[str, bool]:
    from ofa.deploy.formats.catalogue import FORMATS, find_format, missing_packages, version_of

    found = {name: all(version_of(package) for package in packages) for name, packages in EXTRAS.items()}
    formats = [find_format(name) for name in FORMATS]
    return found | {format.extra: not missing_packages(format) for format in formats}


def _data() -> dict[str, Any]:
    from ofa.data.sources.read_source import data_root

    return {"root": str(data_root()), "exists": data_root().is_dir(), "zoo": list(zoo_names())}


def _advice(facts: dict[str, Any]) -> list[str]:
    """Things that are slow or impossible here, why, and what helps."""
    processor, found = facts["processor"], []
    if not facts["gpus"]:
        found.append("no GPU: nets of ImageNet's size train for weeks here; CIFAR's and smaller ones for minutes to hours")
    if processor["load"] is not None and processor["load"] > processor["cores"]:
        found.append(
            f"load {processor['load']:g} on {processor['cores']} cores: threads wait for each other; "
            "OMP_NUM_THREADS=1 is faster then, and no time that is measured now is right"
        )
    if processor["threads"] > processor["cores"]:
        found.append(f"torch takes {processor['threads']} threads on {processor['cores']} cores; set OMP_NUM_THREADS")
    if "AVX512" not in processor["instructions"]:
        found.append(f"instructions {processor['instructions']}: int8 is no faster than fp32 without VNNI (docs/export.md)")
    shared = processor["shared_memory_mb"]
    if shared is not None and shared < SMALL_SHM_MB:
        found.append(f"/dev/shm has {shared} MB: decoding with workers may fail; workers: 0, or docker run --shm-size 1g")
    if not facts["energy"]["counters"]:
        found.append("no energy counter: energy stays unknown; --energy estimate, or a meter's file (docs/energy.md)")
    return found


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    processor, energy, extras = facts["processor"], facts["energy"], facts["extras"]
    missing = ", ".join(name for name, there in extras.items() if not there)
    gpus = [f"{gpu['name']}, {gpu['memory_gb']:g} GB, bf16 {'yes' if gpu['bf16'] else 'no'}" for gpu in facts["gpus"]]
    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in facts["libraries"].items())
    machine = f"{processor['cores']} cores, {processor['threads']} threads, load {processor['load']}, "
    machine += f"{processor['instructions']}, {processor['memory_gb']} GB, /dev/shm {processor['shared_memory_mb']} MB"
    data = f"{facts['data']['root']}{'' if facts['data']['exists'] else ' (does not exist)'}"
    return [
        ("ofa-energy", f"{facts['ofa']}, python {facts['python']}, {sys.executable}"),
        ("libraries", versions),
        ("processor", machine),
        ("GPUs", "; ".join(gpus) or "none"),
        ("energy", energy["source"]),
        (
            "extras",
            f"{', '.join(name for name, there in extras.items() if there) or 'none'}; not installed: {missing or 'none'}",
        ),
        ("data", f"{data}; zoo: {', '.join(facts['data']['zoo']) or 'none'}"),
        *(("note", text) for text in facts["advice"]),
    ]
