"""A footprint as text: the table of parts, break-even points, edge against cloud, the label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ofa.footprint.label_entry import energy_text, sentence
from ofa.footprint.lifecycle import Part, Total


def title_of(answer: dict[str, Any]) -> str:
    """Inferences, platform and devices, in words."""
    count, devices = answer["inferences"], answer["devices"]
    amount = f"{count:,.0f}" if count == int(count) and count < 1e12 else f"{count:.4g}"
    where = "" if devices == 1 else f" on each of {devices:,} devices"
    return f"{amount} inferences{where}" + ("" if answer["platform"] is None else f", {answer['platform']}")


def show_life(answer: dict[str, Any], parts: Sequence[Part], whole: Total, say: Callable[[str], None]) -> None:
    """The table, the points, the comparison and the label, for people."""
    say(f"{answer['subject'] or 'as given'}: {title_of(answer)}\n")
    width = max(len(part.name) for part in parts) + 2
    say(f"{'part':{width}}{'kWh':>11}{'kg CO2e':>11}  {'kind':10} source")
    for part in parts:
        bound = "at least; " if part.missing else ""
        say(f"{part.name:{width}}{_number(part.kwh):>11}{_number(part.kg):>11}  {part.kind:10} {bound}{part.source}")
    say(f"{'total':{width}}{_number(whole.kwh):>11}{_number(whole.kg):>11}")
    for name, without in (("kWh", whole.kwh_without), ("kg CO2e", whole.kg_without)):
        if without:
            say(f"  {name} without: {', '.join(without)}")
    for text in whole.missing:
        say(f"  not counted: {text}")
    say("")
    for name, grid in answer["grids"].items():
        if grid is not None and (name != "server" or answer["edge_against_cloud"]):
            year = grid["year"] or "year not stated"
            say(f"grid of {name}: {grid['g_per_kwh']:g} g CO2e/kWh, {grid['name']}, {year}; {grid['source']}")
    if answer["grids"]["use"] is None:
        say("no --grid: energy alone")
    _show_points(answer["break_even"], say)
    cloud = answer["edge_against_cloud"]
    if cloud is not None:
        words = ", ".join(f"{name} {energy_text(cloud[f'{name}_j'])}" for name in ("radio", "network", "server"))
        times = "" if cloud["cloud_over_edge"] is None else f", {cloud['cloud_over_edge']:.4g} times as much"
        say(f"edge {energy_text(cloud['edge_j'])}; cloud {energy_text(cloud['cloud_j'])} ({words}){times}")
        say(f"  {cloud['bytes']:,.0f} bytes ({cloud['bytes_source']}) by {cloud['by']}; server: {cloud['server_source']}")
        if cloud["warning"] is not None:
            say(f"  {cloud['warning']}")
        say(f"  radio: {cloud['radio_source']}\n  network: {cloud['network_source']}")
    if answer["label"] is not None:
        say(f"energy label: {sentence(answer['label'])}")
    if "plot" in answer:
        say(f"drawn: {answer['plot']}")


def _show_points(points: dict[str, Any], say: Callable[[str], None]) -> None:
    words = {
        "inferences": "inferences until use passes training and search",
        "devices": "devices until training once takes less than the rival",
        "bytes": "bytes per inference from which the cloud takes more",
    }
    for name, text in words.items():
        point = points[name]
        if point["why"] is not None:
            say(f"{text}: unknown, {point['why']}")
            continue
        value = "never" if point[name] is None else f"{point[name]:,.4g}"
        also = point.get("inferences_co2e")
        lacking = point.get("once_without")
        co2e = "" if also is None else f"; in CO2e {also:,.4g}"
        bound = f" (without {', '.join(lacking)})" if lacking else ""
        say(f"{text}: {value}{co2e}{bound}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
