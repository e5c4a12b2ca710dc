"""Break-even points of a life, and edge against cloud."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ofa.cli.life.parts import Grids, Inference, per_burst, read_pue, route_of
from ofa.cli.shared.labels import input_values
from ofa.errors import UserError
from ofa.footprint.break_even import break_even_bytes, break_even_devices, break_even_inferences
from ofa.footprint.checks import number
from ofa.footprint.lifecycle import Part, joules_of_kwh
from ofa.footprint.transmission import edge_against_cloud, network_j

if TYPE_CHECKING:
    from latency_tables import Platform
    from ofa.cli.life.subject import Subject

ONCE = ("training", "search")
"""Parts that are spent once, however many devices there are."""


def break_evens(
    args: argparse.Namespace, parts: Sequence[Part], inference: Inference, grids: Grids, cloud: dict[str, Any] | None
) -> dict[str, Any]:
    """The three points; None with the reason where one is unknown, None without where it is never reached."""
    return {
        "inferences": _inferences(parts, inference, grids),
        "devices": _devices(args, parts),
        "bytes": {"bytes": None, "why": "no cloud is given (--cloud)"}
        if cloud is None
        else {"bytes": cloud["break_even_bytes"], "why": None},
    }


def _inferences(parts: Sequence[Part], inference: Inference, grids: Grids) -> dict[str, Any]:
    """Inferences until use has taken as much as training and search."""
    once, lacking = _once(parts)
    if once is None or inference.joules is None:
        why = "the energy of training is unknown" if once is None else "the energy of an inference is unknown"
        return {"inferences": None, "inferences_co2e": None, "why": why, "once_without": lacking}
    joules = joules_of_kwh(once)
    found = {"inferences": break_even_inferences(joules, inference.joules), "inferences_co2e": None}
    if grids.use is not None and grids.training is not None:
        grams = grids.training.g_per_kwh, grids.use.g_per_kwh
        found["inferences_co2e"] = break_even_inferences(joules, inference.joules, *grams)
    return {**found, "why": None, "once_without": lacking}


def _devices(args: argparse.Namespace, parts: Sequence[Part]) -> dict[str, Any]:
    """Devices until training once takes less than a rival that trains for each."""
    once, lacking = _once(parts)
    if args.rival_kwh is None or once is None:
        why = "no rival is given (--rival-kwh)" if args.rival_kwh is None else "the energy of training is unknown"
        return {"devices": None, "why": why, "once_without": lacking}
    rival, each = number("--rival-kwh", args.rival_kwh), number("--each-kwh", args.each_kwh)
    devices = break_even_devices(once=once, each=each, rival_each=rival)
    return {"devices": devices, "why": None, "once_without": lacking, "once_kwh": once, "rival_kwh": rival, "each_kwh": each}


def _once(parts: Sequence[Part]) -> tuple[float | None, list[str]]:
    """Energy of training and search in kWh, None where the training's is unknown; and what it lacks."""
    spent = [part for part in parts if part.name.split(" ")[0] in ONCE]
    known = {part.name.split(" ")[0] for part in spent if part.kwh is not None}
    lacking = [part.name for part in spent if part.kwh is None] + [text for part in spent for text in part.missing]
    if "training" not in known:
        return None, lacking
    return sum(part.kwh for part in spent if part.kwh is not None), lacking


def against_cloud(
    args: argparse.Namespace, inference: Inference, grids: Grids, subject: Subject | None, platform: Platform | None
) -> dict[str, Any] | None:
    """An inference on the device, and on a server to which its input is sent; None without `--cloud`."""
    from latency_tables.costs.boundaries import mixed_boundaries

    if args.cloud is None:
        given = [name for name in ("server_mj", "server_platform", "cloud_bytes") if getattr(args, name) is not None]
        if given:
            raise UserError(f"--{given[0].replace('_', '-')} goes with --cloud ROUTE, by which the input is sent")
        return None
    if inference.joules is None:
        raise UserError("--cloud: the energy of an inference on the device is unknown; give --inference-mj")
    route = route_of(args, "--cloud", args.cloud)
    if route.j_per_byte is None:
        raise UserError(f"--cloud is {args.cloud}: {route.radio_source}; give --radio-uj-per-byte")
    server_j, server, server_on = _server(args, subject)
    size, why = _bytes(args, subject)
    pue = read_pue(args.server_pue, "--server-pue", grids.server)
    burst = per_burst(args)
    found = edge_against_cloud(
        edge_j=inference.joules,
        server_j=server_j,
        size_bytes=size,
        j_per_byte=route.j_per_byte,
        kwh_per_gb=route.kwh_per_gb,
        pue=pue.value,
        wake_j=route.wake_j,
        tail_j=route.tail_j,
        inferences_per_burst=burst,
    )
    grams = None
    if grids.use is not None and grids.server is not None:
        use = grids.use.g_per_kwh
        grams = found.grams({"edge": use, "network": use, "server": grids.server.g_per_kwh})
    once_j = (route.wake_j + route.tail_j) / burst
    per_byte = route.j_per_byte + network_j(1, route.kwh_per_gb)
    return {
        "by": route.by,
        "bytes": size,
        "bytes_source": why,
        "inferences_per_burst": burst,
        "edge_j": found.edge_j,
        "radio_j": found.radio_j,
        "network_j": found.network_j,
        "server_j": found.server_j,
        "cloud_j": found.cloud_j,
        "cloud_over_edge": found.cloud_over_edge,
        "edge_g": None if grams is None else grams["edge"],
        "cloud_g": None if grams is None else grams["cloud"],
        "break_even_bytes": break_even_bytes(found.edge_j, server_j, per_byte, pue.value, once_j),
        "server_source": f"{server}; PUE {pue.value:g} ({pue.source})",
        "radio_source": route.radio_source,
        "network_source": route.network_source,
        "warning": None if platform is None or server_on is None else mixed_boundaries([platform, server_on]),
    }


def _server(args: argparse.Namespace, subject: Subject | None) -> tuple[float, str, Platform | None]:
    """Energy of an inference on the server in J, without overhead; its source; and its platform, where it is one."""
    if (args.server_mj is None) == (args.server_platform is None):
        raise UserError("--cloud needs the server: give --server-mj, or --server-platform for the same subnet (one of them)")
    if args.server_mj is not None:
        return number("--server-mj", args.server_mj) / 1000, "as given", None
    if subject is None:
        raise UserError("--server-platform goes with a RUN or SUBNET_DIR; give --server-mj")

    from latency_tables import load_platform

    platform = load_platform(args.server_platform)
    costs = platform.costs(subject.space)
    why = costs.why_unknown("energy_mj")
    if why is not None:
        raise UserError(f"--server-platform {platform.name}: energy is unknown: {why}; give --server-mj")
    words = f"{platform.name}, batch {platform.batch}: {costs.source('energy_mj')}"
    return float(costs.energy_mj(subject.genes)[0]) / 1000, words, platform


def _bytes(args: argparse.Namespace, subject: Subject | None) -> tuple[float, str]:
    """Bytes that an inference in the cloud needs, and where they are from."""
    if args.cloud_bytes is not None:
        return number("--cloud-bytes", args.cloud_bytes), "as given"
    if subject is None:
        raise UserError("--cloud-bytes is missing; how large is an input?")

    return float(input_values(subject.space, subject.run)), "a native input, a byte a value, uncompressed"
