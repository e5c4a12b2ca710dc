"""Measuring boundaries: the part of a device whose energy is measured, and the warning where those of platforms differ."""

from __future__ import annotations

from collections.abc import Sequence

from latency_tables.costs.protocol import CostedPlatform

BOUNDARIES = {
    "mains": "the whole device with its power supply, at the plug, waiting included",
    "mains share": "a busy core's share of a loaded server, at the plug",
    "board": "the whole board behind its power supply, waiting included",
    "module": "processors, memory and their regulators on one module, without the carrier board",
    "graphics card": "the GPU with its memory and regulators, without the host",
    "package": "the processor's package, without memory modules and board",
    "chip": "the supply of the chip, as MLPerf Tiny meters it",
    "accelerator": "the accelerator with its memory, from a simulator or a model, without a host",
    "core rail": "the supply of the processor's cores alone",
    "battery minus idle": "the battery's output, minus that of the idle phone",
}
"""Boundaries of the platforms that ship, and what they contain."""


def boundary_words(boundary: str | None) -> str:
    """A boundary as a phrase."""
    return "boundary not stated" if boundary is None else f"boundary: {boundary}"


def mixed_boundaries(platforms: Sequence[CostedPlatform]) -> str | None:
    """A sentence where energies of these platforms are of different boundaries; None where they are of one."""
    found = {
        platform.name: platform.energy.boundary or "not stated" for platform in platforms if platform.energy is not None
    }
    if len(set(found.values())) <= 1:
        return None
    listed = ", ".join(f"{name}: {boundary}" for name, boundary in found.items())
    return f"energies of different boundaries are not comparable ({listed})"


def ranks_as_latency(platform: CostedPlatform) -> bool:
    """True: the energy is power x time, so subnets rank by energy exactly as by latency."""
    return platform.energy is not None and platform.energy.power_w is not None
