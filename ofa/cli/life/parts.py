"""The parts of a life from the options of `ofa footprint`: training, search, inference, transmission, embodied."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ofa.errors import UserError
from ofa.footprint.checks import number
from ofa.footprint.lifecycle import Part, co2e_kg, embodied_kg, joules_of_kwh, kwh_of_joules
from ofa.footprint.tables import Grid, Pue, Route, find_accelerator, find_device, find_grid, find_pue, find_route
from ofa.footprint.transmission import network_j, transmission_j

if TYPE_CHECKING:
    from ofa.energy.account import Booked
    from ofa.energy.recordings.inference import InferenceEnergy

HOURS_PER_YEAR = 8766.0
NOT_STATED = "not stated"


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Energy and time of an inference on the device."""

    joules: float | None
    p90_joules: float | None
    seconds: float | None
    """Time that the device is reserved for one; None: unknown."""
    kind: str
    source: str
    recorded: InferenceEnergy | None = None
    """Reading of an external meter; None: no recording is given."""


@dataclass(frozen=True, kw_only=True)
class Grids:
    """The grids of a life; None: no region, so energy alone."""

    use: Grid | None
    training: Grid | None
    server: Grid | None

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {name: None if grid is None else grid_plain(grid) for name, grid in vars(self).items()}


def grid_plain(grid: Grid) -> dict[str, Any]:
    """A grid as JSON."""
    return {
        "region": grid.region,
        "name": grid.name,
        "g_per_kwh": grid.g_per_kwh,
        "year": grid.year or None,
        "source": grid.source,
    }


def read_grids(args: argparse.Namespace) -> Grids:
    """The grids that are named; training and server are on that of use where they have none of their own."""

    def find(option: str) -> Grid | None:
        word = getattr(args, option)
        if word is None:
            return None
        try:
            return find_grid(word, args.grid_file)
        except UserError as error:
            if args.grid_file is not None and str(error).startswith(str(args.grid_file)):
                raise
            raise UserError(f"--{option.replace('_', '-')}: {error}") from None

    use = find("grid")
    return Grids(use=use, training=find("train_grid") or use, server=find("server_grid") or use)


def read_pue(word: str | None, option: str, grid: Grid | None) -> Pue:
    """The PUE that is given, else that of the cloud region, else 1: no data centre."""
    if word is not None:
        try:
            return find_pue(word)
        except UserError as error:
            raise UserError(f"{option}: {error}") from None
    if grid is not None and grid.pue is not None:
        return Pue(value=grid.pue, source=f"{grid.name}: {grid.source}")
    return Pue(value=1.0, source="no data centre is stated")


def part(name: str, joules: float | None, kind: str, source: str, grid: Grid | None, **others: Any) -> Part:
    """A part whose CO2e is that of its energy on a grid."""
    kwh = None if joules is None else kwh_of_joules(joules)
    kg = None if kwh is None or grid is None else co2e_kg(kwh, grid.g_per_kwh)
    return Part(name=name, kwh=kwh, kg=kg, kind=kind, source=source, **others)


def worked(name: str, work: Sequence[Booked], args: argparse.Namespace, grid: Grid | None, pue: Pue) -> list[Part]:
    """The part `training` or `search`: what was metered in all runs that count, and apart from it what was estimated.

    The option `NAME_kwh` replaces what was booked; `power_w` or `accelerator` estimates the time without a reading.
    """
    note = f"; PUE {pue.value:g} ({pue.source})"
    given = getattr(args, f"{name}_kwh")
    if given is not None:
        return [part(name, joules_of_kwh(given) * pue.value, "estimated", f"--{name}-kwh, as given{note}", grid)]
    metered, estimated, unread = ([row for row in work if row.kind == kind] for kind in ("metered", "estimated", "unknown"))
    parts = [_booked(name, metered, grid, pue, note)] if metered else []
    if estimated:
        parts.append(_booked(f"{name} (estimated)" if metered else name, estimated, grid, pue, note))
    hours = sum(row.seconds for row in unread) / 3600
    watts = _power(args) if unread else None
    if watts is not None:
        source = f"{hours:.3g} h without a reading x {watts[0]:g} W: {watts[1]}{note}"
        own = f"{name} (from --{'power-w' if args.power_w is not None else 'accelerator'})" if parts else name
        parts.append(part(own, watts[0] * hours * 3600 * pue.value, "estimated", source, grid))
    elif unread and parts:
        lacking = f"{hours:.3g} h without any reading"
        parts[0] = replace(parts[0], missing=(*parts[0].missing, lacking))
    elif unread:
        why = "; ".join(_once(text for row in unread for text in row.sources))
        advice = "give --power-w, or --accelerator with --utilisation, to estimate it"
        parts.append(part(name, None, "unknown", f"{hours:.3g} h without a reading ({why}); {advice}", grid))
    if not parts:
        parts.append(part(name, None, "unknown", f"nothing is booked; --{name}-kwh gives it", grid))
    return parts


def _booked(name: str, rows: Sequence[Booked], grid: Grid | None, pue: Pue, note: str) -> Part:
    """The part of rows of one kind."""
    joules = sum(row.joules or 0.0 for row in rows) * pue.value
    purposes = " + ".join(_once(row.purpose for row in rows))
    source = f"{purposes}: {'; '.join(_once(text for row in rows for text in row.sources))}{note}"
    return part(name, joules, rows[0].kind, source, grid, missing=_once(text for row in rows for text in row.missing))


def _power(args: argparse.Namespace) -> tuple[float, str] | None:
    """The power to estimate with, in W, and its source; None: it is not to be estimated."""
    if args.power_w is not None:
        return number("--power-w", args.power_w, above=0), "as given"
    if args.accelerator is None:
        return None
    try:
        found = find_accelerator(args.accelerator)
    except UserError as error:
        raise UserError(f"--accelerator: {error} (--power-w)") from None
    if args.utilisation is None:
        raise UserError("--utilisation is missing; give the mean power over the TDP, in [0, 1]: 0.6 was metered on V100s")
    share = number("--utilisation", args.utilisation, above=0, most=1)
    note = f" ({found.note})" if found.note else ""
    words = f"{args.accelerators} x {found.name}, {found.watts:g} W{note} x utilisation {share:g} ({found.source})"
    return args.accelerators * found.watts * share, words


def inferred(inference: Inference, total: float, grid: Grid | None) -> Part:
    """The part `inference`: so many inferences on all devices together."""
    joules = None if inference.joules is None else inference.joules * total
    return part("inference", joules, inference.kind, inference.source, grid)


def transmitted(args: argparse.Namespace, total: float, grid: Grid | None) -> Part:
    """The part `transmission`: what the devices send of their own."""
    if args.send is None:
        return part("transmission", None, "unknown", f"{NOT_STATED}: --send ROUTE with --bytes, or --send none", grid)
    if args.send == "none":
        return part("transmission", 0.0, "modelled", "nothing is sent, as given", grid)
    if args.bytes is None:
        raise UserError(f"--bytes is missing; how many does an inference send over {args.send}?")
    size = number("--bytes", args.bytes) * total
    route = route_of(args, "--send", args.send)
    missing = () if route.j_per_byte is not None else (f"the device's radio ({route.radio_source})",)
    per_byte = route.j_per_byte or 0.0  # named as missing
    radio = transmission_j(size, per_byte, route.wake_j, route.tail_j, total / per_burst(args))
    source = f"radio: {route.radio_source}; network: {route.network_source}"
    joules = radio + network_j(size, route.kwh_per_gb)
    return part("transmission", joules, "modelled", source, grid, missing=missing)


def per_burst(args: argparse.Namespace) -> float:
    """Inferences whose bytes share a burst."""
    return number("--per-burst", args.per_burst, least=1)


def route_of(args: argparse.Namespace, option: str, word: str) -> Route:
    """A way to send, with the figures that are given in place of its own."""
    try:
        route = find_route(word)
    except UserError as error:
        raise UserError(f"{option}: {error}") from None
    if args.radio_uj_per_byte is not None:
        joules = number("--radio-uj-per-byte", args.radio_uj_per_byte) / 1e6
        route = replace(route, j_per_byte=joules, radio_source="as given")
    if args.network_kwh_per_gb is not None:
        kwh = number("--network-kwh-per-gb", args.network_kwh_per_gb)
        route = replace(route, kwh_per_gb=kwh, network_source="as given")
    return route


def embodied(args: argparse.Namespace, inference: Inference, devices: int) -> Part:
    """The part `embodied`: the share of the devices' manufacture, in CO2e alone."""

    def made(kg: float | None, kind: str, source: str) -> Part:
        return Part(name="embodied", kwh=None, kg=kg, kind=kind, source=source)

    if args.device is None and args.embodied_kg is None:
        return made(None, "unknown", f"{NOT_STATED}: --device NAME, or --embodied-kg with --lifetime-years")
    try:
        device = None if args.device is None else find_device(args.device)
    except UserError as error:
        raise UserError(f"--device: {error}") from None
    kg = number("--embodied-kg", args.embodied_kg) if device is None else device.kg
    source = "as given" if device is None else f"{device.what}, {device.kg:g} kg: {device.scope} ({device.source})"
    if args.life_share is not None:
        share = number("--life-share", args.life_share, most=1)
        return made(kg * share * devices, "estimated", f"{share:.3g} of the device, as given; {source}")
    years = args.lifetime_years or (None if device is None else device.lifetime_years)
    if years is None:
        raise UserError("--lifetime-years is missing; the manufacture is shared out over the device's life")
    if inference.seconds is None:
        return made(None, "unknown", "the time of an inference is unknown: give --inference-ms, or --life-share")
    life_h = number("--lifetime-years", years, above=0) * HOURS_PER_YEAR
    used_h = inference.seconds * args.inferences / 3600
    if used_h > life_h:
        raise UserError(
            f"--inferences is {args.inferences:g}, which take {used_h:.4g} h on a device; its life is {life_h:.0f} h"
        )
    words = f"{used_h:.3g} h of inference of {life_h:.0f} h of life (not of the time in use)"
    return made(embodied_kg(kg, used_h, life_h) * devices, "estimated", f"{words}; {source}")


def _once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word))
