"""Options that say where a verb's energy comes from, and the booking of a verb in its run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ofa.distributed.world import ALONE, World
from ofa.energy.choice import COUNTERS, MACHINE, EnergyChoice
from ofa.energy.ledger import booked_beside
from ofa.files.bundle import BundlePath, Place


def add_energy_arguments(parser: argparse.ArgumentParser) -> None:
    """The origin of the energy that is booked."""
    group = parser.add_argument_group("energy that is booked in the run (docs/energy.md)")
    group.add_argument(
        "--energy", metavar="ORIGIN", help="counters (RAPL and NVML; the default), zeus, codecarbon, estimate"
    )
    group.add_argument("--accelerator", metavar="NAME", help="with --energy estimate: V100, A100, ..., or its power in W")
    group.add_argument("--utilisation", type=float, metavar="U", help="with --energy estimate: mean power over rated power")


def energy_choice(args: argparse.Namespace) -> EnergyChoice:
    """The origin of energy that the options ask for; raises `UserError` where they do not go together."""
    return EnergyChoice.of(args.energy or COUNTERS, args.accelerator, args.utilisation)


@contextmanager
def booked_in_run(
    energy: EnergyChoice, place: Place, verb: str, purpose: str, device: str = "cpu", world: World = ALONE
) -> Iterator[None]:
    """Book time and energy of a block in a run directory; in a bundle, nothing can be booked. `device`: torch's name."""
    if isinstance(place, BundlePath):
        if energy != MACHINE and world.first:
            print(f"warning: {place} is a bundle, in which no energy is booked", file=sys.stderr)
        yield
        return
    with booked_beside(place / "energy", verb, purpose, energy.meter(device, processor=world.local_rank == 0), world):
        yield


def device_of(args: argparse.Namespace, measures: bool) -> str:
    """Torch's name of the device on which a verb works: the processor unless it measures, which alone needs torch."""
    if not measures:
        return "cpu"
    from ofa.distributed.devices import choose_device

    return str(choose_device(args.device))
