"""Energies that no network was measured for: two powers of GPUs, and power x time of phones and a server's core.

No measurement of networks on these devices is known, so the expected error is judged, and stands in the file as a factor.

A GPU draws one power while it waits for kernels to be launched, and another while it computes. Training traces give both:
ShuffleNetV2 at small batches waits, at large ones, like ResNet50 at any, it computes. A latency model says which part of an
operation's time is its start, when the GPU waits, and which is work and traffic: the latter, times the difference of the two
powers, is energy per MAC and per byte. It is taken from batch 64 for smaller batches too, whose times are those of launches.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from latency_tables import Platform, load_platform
from latency_tables.cost_models.op_model import EnergyModel, LatencyModel, OpEnergy
from latency_tables.cost_models.uncertainty import ErrorReport

ZEUS = (
    "mean board power (NVML) while training, ml-energy/zeus at 75a8b93, traces of You et al. (NSDI 2023), at the largest "
    "power limit"
)
DVFS = "mean board power while training GoogLeNet, blackjack2015/dlbench_dvfs at 18fe93d (2019), 16 pairs of clocks"
GPU_FACTOR = 1.4
"""Training is not inference, and the work of a kernel is not what bounds its time: 20 to 40%."""


@dataclass(frozen=True, kw_only=True)
class Powers:
    """Board powers of a GPU, and how well they describe its traces."""

    waiting_w: float
    busy_w: float
    source: str
    mape: float
    worst: float
    traces: int


GPUS = {
    **{f"v100-{name}": "V100" for name in ("batch1", "batch32", "batch64", "ofa")},
    **{f"titan-rtx-batch{batch}": "Quadro RTX 6000" for batch in (1, 32, 64)},
    "gtx-1080ti": "GTX 1080 Ti",
}
"""The GPU whose traces stand for a platform."""


@dataclass(frozen=True, kw_only=True)
class Core:
    """Where the power of one busy core is from: rows of the phones' file, and power besides a core, in W."""

    rows: tuple[tuple[str, str, str, float], ...]
    """Phone, beginning of the source, cluster, power to add."""
    chip: str


CORES = {
    "pixel1": Core(
        chip="Snapdragon 821",
        rows=(("Pixel", "power_profile", "1", 0.154), ("(reference board compatible)", "freqbench", "2", 0.0)),
    ),
    "pixel2": Core(
        chip="Snapdragon 835", rows=(("Pixel 2", "power_profile", "1", 0.092), ("Pixel 2 XL", "freqbench", "4", 0.0))
    ),
    "pixel3": Core(
        chip="Snapdragon 845", rows=(("Pixel 3", "power_profile", "1", 0.0), ("Mi Mix 2S", "freqbench", "4", 0.0))
    ),
    "lg-g8": Core(
        chip="Snapdragon 855", rows=(("OnePlus 7 Pro", "power_profile", "2", 0.0), ("ZenFone 6", "freqbench", "7", 0.0))
    ),
    "s7-edge": Core(
        chip="Exynos 8890; the publication names no chip", rows=(("Galaxy S7 edge", "power_profile", "1", 0.0),)
    ),
}
"""Phones whose chip is known; the Note8 and the Note10 were sold with two chips each, and the publication names none."""
SERVER = "xeon-e5-2690v4"
AGREED, DOUBTFUL = 1.5, 1.7
"""Factors where two sources of a core's power differ by less than 1.5, and where they do not, or there is one."""
PHONE_NOTE = (
    "power of another workload (vendor's profile; CoreMark, idle subtracted), no vector units, hardly any memory traffic; "
    "one busy core at its highest clock is assumed"
)
SERVERS = "SPECpower_ssj2008 of servers with Xeon E5-2698 v4 and E5-2699 v4 (2016), cloud-carbon-coefficients at dda7621"
SERVER_NOTE = (
    "power of another workload (Java, no AVX) on servers with more and slower cores; one busy core is assumed, and charged "
    "its share of the loaded server"
)


def platforms(reference: Path) -> list[Platform]:
    """The shipped platforms of these devices, with their energies."""
    return [with_energy(load_platform(name), reference) for name in (*GPUS, *CORES, SERVER)]


def with_energy(platform: Platform, reference: Path) -> Platform:
    """The platform with its judged energy, if it is one of these devices."""
    if platform.name in GPUS:
        return _of_gpu(platform, powers(reference)[GPUS[platform.name]])
    if platform.name in CORES:
        return _of_core(platform, CORES[platform.name], reference)
    return _of_server(platform, reference) if platform.name == SERVER else platform


def powers(reference: Path) -> dict[str, Powers]:
    """Waiting and busy power of each GPU. That of the GTX 1080 Ti waiting is assumed: its traces are all busy."""
    found = {gpu: _two_powers(_rows(reference, "gpu_board_power.csv", gpu)) for gpu in ("V100", "Quadro RTX 6000")}
    busy_w = np.array([float(row["mean_w"]) for row in _rows(reference, "gpu_board_power.csv", "GTX 1080 Ti")])
    share = float(np.mean([power.waiting_w / power.busy_w for power in found.values()]))
    others_w = (busy_w.sum() - busy_w) / (len(busy_w) - 1)
    errors = np.abs(others_w / busy_w - 1)
    found["GTX 1080 Ti"] = Powers(
        waiting_w=share * float(busy_w.mean()),
        busy_w=float(busy_w.mean()),
        source=f"{DVFS}; waiting: assumed, the share of busy power of the two other GPUs",
        mape=float(errors.mean()),
        worst=float(errors.max()),
        traces=len(busy_w),
    )
    return found


def _two_powers(rows: list[dict[str, str]]) -> Powers:
    """Board power = waiting + (busy - waiting) x share of the time that the GPU computes; relative least squares.

    ShuffleNetV2 computes in as much time as its fastest epoch takes; a longer one waits the rest. ResNet50 always computes.
    The error is that of traces left out: each by a fit without the traces of its network and batch.
    """
    top = max(int(row["power_limit_w"]) for row in rows)
    rows = [row for row in rows if int(row["power_limit_w"]) == top]
    measured = np.array([float(row["mean_w"]) for row in rows])
    groups = np.array([f"{row['network']} {row['batch']}" for row in rows])
    predicted = np.empty_like(measured)
    for group in set(groups):
        out = groups == group
        kept = [row for row, left_out in zip(rows, out, strict=True) if not left_out]
        terms = _shares(rows, kept)
        predicted[out] = terms[out] @ _fitted_w(terms[~out], measured[~out])
    errors = np.abs(predicted / measured - 1)
    waiting_w, extra_w = _fitted_w(_shares(rows, rows), measured)
    return Powers(
        waiting_w=float(waiting_w),
        busy_w=float(waiting_w + extra_w),
        source=f"{ZEUS} ({top} W)",
        mape=float(errors.mean()),
        worst=float(errors.max()),
        traces=len(rows),
    )


def _shares(rows: list[dict[str, str]], known: list[dict[str, str]]) -> np.ndarray:
    """1, and the share of its time that the GPU computes, by the fastest epochs among the known traces; float64[rows, 2]."""
    fastest: dict[str, float] = {}
    for row in known:
        if row["network"] == "shufflenetv2":
            time_s = float(row["time_per_epoch_s"])
            fastest[row["optimizer"]] = min(time_s, fastest.get(row["optimizer"], time_s))
    shares = [
        min(1.0, fastest[row["optimizer"]] / float(row["time_per_epoch_s"])) if row["network"] == "shufflenetv2" else 1.0
        for row in rows
    ]
    return np.stack([np.ones(len(rows)), np.array(shares)], axis=1)


def _fitted_w(terms: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Waiting power, and how much more a busy GPU draws."""
    found: np.ndarray = nnls(terms / measured[:, None], np.ones_like(measured))[0]
    return found


def _work(platform: Platform) -> LatencyModel:
    """The latency model that says how long the GPU computes: that of batch 64.

    End-to-end times of smaller batches are mostly those of launches, and tell nothing of the work per MAC.
    """
    stem, separator, _ = platform.name.partition("-batch")
    model = load_platform(f"{stem}-batch64").latency if separator else platform.latency
    assert model is not None
    return model


def _of_gpu(platform: Platform, power: Powers) -> Platform:
    work = _work(platform)
    scale = 1000 * (power.busy_w - power.waiting_w)  # 1 W for 1 ms per million MACs, or per MB, is 1,000 pJ each
    ops = {
        kind: OpEnergy(
            pj_per_mac=_digits(scale * time.ms_per_mmac),
            pj_per_weight_byte=_digits(scale * time.ms_per_weight_mb),
            pj_per_activation_byte=_digits(scale * time.ms_per_activation_mb),
        )
        for kind, time in work.ops.items()
    }
    note = (
        f"no energy of a network was compared; the two powers predict {power.traces} training traces left out with a mean "
        f"error of {power.mape:.1%}, at most {power.worst:.0%}"
    )
    energy = EnergyModel(
        source=f"two powers, waiting {power.waiting_w:.3g} W and busy {power.busy_w:.3g} W: {power.source}",
        static_w=_digits(power.waiting_w),
        ops=ops,
        fuse_add=work.fuse_add,
        boundary="graphics card",
        error=ErrorReport(note=note, expected_factor=GPU_FACTOR),
    )
    return replace(platform, energy=energy)


def _of_core(platform: Platform, core: Core, reference: Path) -> Platform:
    found = []
    for phone, source, cluster, besides_w in core.rows:
        rows = [
            (int(row["khz"]), float(row["core_mw"]) / 1000 + besides_w, row["source"])
            for row in _rows(reference, "phone_cpu_power.csv", phone, "phone")
            if row["phone"] == phone and row["source"].startswith(source) and row["cluster"] == cluster
        ]
        found.append((phone, *max(rows)))
    watts = [power_w for _, _, power_w, _ in found]
    agreed = len(found) > 1 and max(watts) < 1.5 * min(watts)
    texts = [f"{power_w:.3g} W ({phone}, {source}, {khz / 1e6:.3g} GHz)" for phone, khz, power_w, source in found]
    source = f"power x time; power of one core ({core.chip}): {'; '.join(texts)}" + (
        "; their geometric mean" if len(found) > 1 else ""
    )
    return _power_times_time(
        platform,
        float(np.exp(np.mean(np.log(watts)))),
        source,
        "battery minus idle",
        ErrorReport(note=PHONE_NOTE, expected_factor=AGREED if agreed else DOUBTFUL),
    )


def _of_server(platform: Platform, reference: Path) -> Platform:
    rows = _rows(reference, "server_cpu_specpower.csv", "Intel Xeon E5-269", "cpu")
    watts = np.median([float(row["watts_full_per_core"]) for row in rows])
    source = f"power x time; power of a core's share of a loaded server, median of {len(rows)}: {SERVERS}"
    error = ErrorReport(note=SERVER_NOTE, expected_factor=DOUBTFUL)
    return _power_times_time(platform, float(watts), source, "mains share", error)


def _power_times_time(platform: Platform, watts: float, source: str, boundary: str, error: ErrorReport) -> Platform:
    energy = EnergyModel(source=source, power_w=float(f"{watts:.3g}"), boundary=boundary, error=error)
    return replace(platform, energy=energy)


def _digits(value: float) -> float:
    return float(f"{value:.5g}")


def _rows(reference: Path, file: str, begins: str, column: str = "device") -> list[dict[str, str]]:
    with open(reference / "energy" / "measured" / file, newline="") as lines:
        return [row for row in csv.DictReader(lines) if row[column].startswith(begins)]
