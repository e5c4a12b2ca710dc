"""Platforms measured on this machine, or from the results of a kit on another machine.

Every distinct block of a space is timed, and whole networks to correct the sum of blocks and to check it. `profiling.plan`
decides what is timed, `on_device.timing` how; torch and onnxruntime are imported when measuring starts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from latency_tables.cost_models.op_model import EnergyModel
from latency_tables.on_device.litert_runtime import LitertRuntime
from latency_tables.on_device.main import RUNTIMES as RUNTIMES_OF_KITS
from latency_tables.on_device.ort_runtime import OrtRuntime, machine
from latency_tables.on_device.results import Results, read, settings_of
from latency_tables.on_device.timing import ProgressLine, run
from latency_tables.platform import Platform
from latency_tables.profiling.assemble import assemble, rounded
from latency_tables.profiling.block_power import MeteredLog, item_watts, mean_power, modelled, power_of
from latency_tables.profiling.executorch_runtime import ExecutorchRuntime
from latency_tables.profiling.kit import files_of, plan_of
from latency_tables.profiling.plan import Settings, SpacePlan
from latency_tables.profiling.torch_runtime import TorchRuntime
from ofa.energy.choice import MACHINE, EnergyChoice
from ofa.errors import UserError
from ofa.files import schema
from ofa.files.bounds import Bounded, Count, NotNegative, OneOf, Positive
from ofa.space.search_space import SearchSpace

RUNTIMES = ("torch", *RUNTIMES_OF_KITS, "executorch")
MeasuredRuntime = TorchRuntime | OrtRuntime | LitertRuntime | ExecutorchRuntime
THREADS = re.compile("[1-9][0-9]{0,5}")


@dataclass(frozen=True, kw_only=True)
class ProfileTarget(Bounded):
    """A runtime, a device, and the source of its energy."""

    runtime: Annotated[str, OneOf(RUNTIMES)] = "torch"
    """The software that infers."""
    device: str = "cpu"
    """Name of the device in torch."""
    threads: Count | None = None
    """CPU threads; None: the runtime's default."""
    channels_last: bool = False
    """Memory format of PyTorch's weights and feature maps."""
    power_w: Positive | None = None
    """Power of this machine during inference, if the user knows it; used where no counter is readable."""
    energy_s: NotNegative = 1.0
    """Seconds for which each block is repeated to measure its energy, where a counter is readable; 0: mean power x time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.runtime != "torch" and (self.channels_last or self.device != "cpu"):
            raise UserError(f"runtime {self.runtime} is measured on device cpu, in its own memory format")


def profile(
    space: SearchSpace,
    name: str,
    settings: Settings,
    target: ProfileTarget,
    partial: Path,
    show: bool = False,
    recorded: EnergyModel | None = None,
    counters: EnergyChoice = MACHINE,
) -> Platform:
    """Measure the blocks of a space, and whole subnets, on this machine.

    Args:
        space: the space whose blocks are measured, at all of its resolutions.
        name: name of the resulting platform.
        settings: number of runs and networks, batch, seed.
        target: runtime and device to measure.
        partial: file that keeps the times as they come; an existing one is continued. The caller removes it.
        show: True: a progress bar on stderr.
        recorded: energy from an external meter (`block_power.recorded_power`); None: that of this machine's counters.
        counters: the counters.

    Raises:
        UserError: a runtime is missing, or `partial` was begun with other settings.
    """
    import torch

    plan = SpacePlan.of(space, settings)
    threads_before = torch.get_num_threads()
    try:
        runtime, facts = _open(plan, target)
        meter = counters.meter(facts["device"])
        log = MeteredLog(Results(partial, plan.timing, facts), meter)
        try:
            run(plan.timing, runtime, log, ProgressLine(show))
        finally:
            log.close()
        _, rows, _ = read(partial, plan.timing)
        watts: dict[str, float] = {}
        known = log.source
        if recorded is None and target.energy_s and meter.available:
            watts, known = item_watts(plan, runtime, meter, target.energy_s, show)
    except ValueError as error:
        raise UserError(str(error)) from None
    finally:
        torch.set_num_threads(threads_before)
    energy = EnergyModel(source=known) if watts else recorded or _energy(*mean_power(rows, known), target.power_w)
    return assemble(plan, name, rows, facts, energy, watts, str(partial))


def import_results(
    path: Path, space: SearchSpace, name: str, power_w: float | None = None, recorded: EnergyModel | None = None
) -> Platform:
    """The platform of a device on which a kit ran; `space` is the one the kit was exported for.

    Its energy is what an external meter `recorded` there, or a power that is known, x time; else a lower bound.

    Raises:
        UserError: a value is missing, malformed, negative, NaN, or of another kit or space; names its file, line and key.
    """
    try:
        facts = settings_of(path)
        plan = plan_of(facts.pop("kit", None), space, f"{path}:1")
        _, rows, end = read(path, plan.timing)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(str(error)) from None
    if end < path.stat().st_size:
        raise UserError(f"{path}: its last visit is not whole; run the same command again to continue")
    facts.pop("plan")
    for key in sorted({"processor", "runtime", "threads", *facts}):
        if not isinstance(facts.get(key), str) or (key == "threads" and not THREADS.fullmatch(facts[key])):
            raise UserError(f"{path}:1: {key} is {schema.shown(facts.get(key))}; expected the text that run.py wrote")
    nothing = "no energy counter was read: a kit measures time"
    energy = _energy(None, nothing, power_w) if recorded is None else recorded
    return assemble(plan, name, rows, facts, energy, {}, str(path))


def _energy(measured_w: float | None, known: str, given_w: float | None) -> EnergyModel:
    """Power x time with the measured or the user's power; else a lower bound. `known`: the counters read, or why none."""
    if measured_w is not None:
        return EnergyModel(source=f"power x time; power: {known}", power_w=rounded(measured_w))
    return modelled(known) if given_w is None else power_of(given_w, known)


# -- the runtime -----------------------------------------------------------------------------------------------------------


def _open(plan: SpacePlan, target: ProfileTarget) -> tuple[MeasuredRuntime, dict[str, str]]:
    """The target's runtime, and the facts of it and of the machine that go into the platform."""
    runtime: MeasuredRuntime
    facts = {"device": "cpu"}
    if target.runtime == "torch":
        runtime = eager = TorchRuntime(plan.models, target.device, target.threads, target.channels_last, plan.settings.seed)
        facts = {"device": str(eager.device), "memory format": "channels last" if target.channels_last else "contiguous"}
        if eager.accelerator is not None:
            facts["accelerator"] = eager.accelerator
    elif target.runtime == "executorch":
        runtime = ExecutorchRuntime(plan, target.threads)
    else:
        files = files_of(target.runtime, plan)
        runtime = RUNTIMES_OF_KITS[target.runtime](files, target.threads, plan.settings.seed)
    return runtime, {**machine(), "runtime": runtime.name, "threads": str(runtime.threads), **facts}
