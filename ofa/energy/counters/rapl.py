"""RAPL: the energy counters of Intel and AMD processors and of their memory (Linux kernel, power capping framework).

They are files under /sys/class/powercap, in microjoules, that wrap around; on most systems only root can read them.
"""

from __future__ import annotations

from pathlib import Path

from ofa.energy.counters.base import Found, reason

POWERCAP = Path("/sys/class/powercap")


class RaplCounter:
    """The energy counter of one RAPL domain."""

    def __init__(self, folder: Path) -> None:
        """Raises `OSError` or `ValueError` when the domain cannot be read."""
        self.name = f"RAPL {_name(folder)}"
        self.range_j: float | None = int((folder / "max_energy_range_uj").read_text()) * 1e-6
        self._file = folder / "energy_uj"
        self.read()

    def read(self) -> float:
        """Joules since an arbitrary moment."""
        return int(self._file.read_text()) * 1e-6


def find(powercap: Path = POWERCAP) -> Found:
    """The processor packages and memories of this machine, each domain once.

    The domain `psys` includes the packages, and `core` and `uncore` are parts of a package, so none of these is added. Names
    are unique below one parent; a second folder with the same name there shows the same domain.
    """
    counters: dict[tuple[str, str], RaplCounter] = {}
    missing: dict[tuple[str, str], str] = {}
    for folder in sorted(powercap.glob("intel-rapl:*")):
        domain = folder.name, ""
        try:
            name = _name(folder)
            if not (name.startswith("package") or name == "dram"):
                continue
            domain = (folder.name.rpartition(":")[0] if name == "dram" else "", name)  # each package has a dram of its own
            if domain not in counters:
                counters[domain] = RaplCounter(folder)
        except (OSError, ValueError) as error:
            missing[domain] = f"{folder}: {reason(error)}"
    unread = tuple(text for domain, text in missing.items() if domain not in counters)
    if not any(
        name.startswith("package") for _, name in counters
    ):  # the memory's energy alone would say little of the machine's
        return Found(missing=unread or (f"no RAPL domain under {powercap}",))
    return Found(tuple(counters.values()), unread)


def _name(folder: Path) -> str:
    return (folder / "name").read_text().strip()
