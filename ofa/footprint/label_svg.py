"""The drawing of a label: a ladder of letters as on a fridge, legible in black and white. No torch, no matplotlib.

Bars differ in length and letter, not in colour alone; the arrow of the letter is black on white. With two letters, the arrow
of the better one (p10) is outlined, and that of the worse one (p90), which counts, is filled.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from html import escape
from typing import Any

from ofa.footprint.energy_label import load_bounds
from ofa.footprint.label_entry import per_1000, ratio_text

WIDTH, MARGIN = 420, 20
COLOURS = ("#2fa84f", "#8cc63f", "#c8d92e", "#ffe14d", "#fbb040", "#f47b3c", "#e5554a")
"""Colours from the best letter to the worst; all light enough for black text."""
LADDER_TOP, BAR, STEP = 138, 30, 35
SHORTEST, LONGER = 96, 24
FONT = "DejaVu Sans, Verdana, Arial, Helvetica, sans-serif"
WRAP = 62
"""Characters on a line of small text."""
LINE = 15


def label_svg(entry: Mapping[str, Any]) -> str:
    """The SVG of a label's entry (`label_entry.label_entry`)."""
    letters = load_bounds().letters
    bottom = LADDER_TOP + STEP * len(letters)
    body = [*_header(entry), *_ladder(letters), *_arrows(entry, letters)]
    body += _facts(entry, bottom + 14)
    height = bottom + 100 + LINE * len(_lines(entry))
    spoken = "no letter" if entry["shown"] is None else f"class {entry['shown']}"
    title = f"Energy label {entry['id']}: {spoken}, {entry['platform']}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            f'role="img" font-family="{FONT}">',
            f"<title>{escape(title)}</title>",
            f'<rect x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" fill="#fff" stroke="#000" stroke-width="2"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def _text(x: float, y: float, size: int, words: str, extra: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" {extra}>{escape(words)}</text>'


def _header(entry: Mapping[str, Any]) -> list[str]:
    predicted = "" if entry["top1_measured"] or entry["shown"] is None else ", PREDICTED"
    device = textwrap.wrap(str(entry["device"]), WRAP - 8, max_lines=2, placeholder=" ...")
    return [
        f'<rect x="0" y="0" width="{WIDTH}" height="48" fill="#000"/>',
        _text(MARGIN, 33, 26, "ENERGY", 'fill="#fff" font-weight="bold"'),
        _text(WIDTH - MARGIN, 33, 17, f"label {entry['id']}", 'fill="#fff" text-anchor="end"'),
        _text(MARGIN, 76, 19, str(entry["platform"]), 'font-weight="bold"'),
        _text(WIDTH - MARGIN, 76, 15, f"{str(entry['kind']).upper()}{predicted}", 'font-weight="bold" text-anchor="end"'),
        *(_text(MARGIN, 97 + LINE * i, 12, line) for i, line in enumerate(device)),
    ]


def _ladder(letters: tuple[str, ...]) -> list[str]:
    drawn = []
    for i, (letter, colour) in enumerate(zip(letters, COLOURS, strict=True)):
        top, end = LADDER_TOP + STEP * i, MARGIN + SHORTEST + LONGER * i
        points = f"{MARGIN},{top} {end},{top} {end + 14},{top + BAR / 2:g} {end},{top + BAR} {MARGIN},{top + BAR}"
        drawn.append(f'<polygon points="{points}" fill="{colour}" stroke="#000"/>')
        drawn.append(_text(MARGIN + 12, top + 23, 22, letter, 'font-weight="bold"'))
    return drawn


def _arrows(entry: Mapping[str, Any], letters: tuple[str, ...]) -> list[str]:
    if entry["shown"] is None:
        lines = textwrap.wrap(f"no letter: {entry['why']}", 17)
        return [_text(WIDTH - MARGIN - 142, LADDER_TOP + 20 + 18 * i, 15, line) for i, line in enumerate(lines)]
    worse, better = entry["letter"], entry["shown"][0]
    drawn = [_arrow(letters.index(worse), worse, "#000", "#fff")]
    if better != worse:
        drawn.append(_arrow(letters.index(better), better, "#fff", "#000"))
        for letter, name in ((better, "p10"), (worse, "p90")):
            y = LADDER_TOP + STEP * letters.index(letter) + 20
            drawn.append(_text(WIDTH - MARGIN - 96, y, 12, name, 'text-anchor="end"'))
    return drawn


def _arrow(place: int, letter: str, fill: str, ink: str) -> str:
    top, right = LADDER_TOP + STEP * place - 2, WIDTH - MARGIN
    middle, left = top + BAR / 2 + 2, right - 90
    points = f"{left},{middle:g} {left + 20},{top} {right},{top} {right},{top + BAR + 4} {left + 20},{top + BAR + 4}"
    shape = f'<polygon points="{points}" fill="{fill}" stroke="#000" stroke-width="2"/>'
    return shape + _text(right - 36, top + 27, 27, letter, f'fill="{ink}" font-weight="bold" text-anchor="middle"')


def _facts(entry: Mapping[str, Any], top: int) -> list[str]:
    amount = "energy unknown" if entry["joules"] is None else per_1000(entry)
    rule = f'<line x1="{MARGIN}" y1="{top}" x2="{WIDTH - MARGIN}" y2="{top}" stroke="#000" stroke-width="2"/>'
    return [
        rule,
        _text(MARGIN, top + 38, 30, amount, 'font-weight="bold"'),
        _text(MARGIN, top + 57, 13, "per 1,000 inferences, on the device alone"),
        *(_text(MARGIN, top + 78 + LINE * i, 11, line) for i, line in enumerate(_lines(entry))),
    ]


def _lines(entry: Mapping[str, Any]) -> list[str]:
    """The small text, wrapped."""
    facts = [_accuracy(entry)]
    precision = entry["precision"] or "precision not stated"
    boundary = f"energy of: {entry['boundary']}" if entry["boundary"] else "boundary of the energy not stated"
    facts.append(f"{entry['runtime']}, {precision}, batch {entry['batch']}; {boundary}; {entry['uncertainty']}")
    facts.append(ratio_text(entry))
    if entry["index_nj"] is not None:
        index = entry["index_nj"]
        shown = f"{index:,.0f}" if index >= 1000 else f"{index:.3g}"
        size = f"({entry['input_values']:,} values, {entry['classes']} classes)"
        facts.append(f"index {shown} nJ per input value and decision better than chance {size}")
    facts.append(f"{entry['date']}, bounds {entry['id']}, checksum {entry['checksum'][:12]}")
    return [line for fact in facts for line in textwrap.wrap(fact, WRAP)]


def _accuracy(entry: Mapping[str, Any]) -> str:
    if entry["top1"] is None:
        return "top-1 unknown"
    error = "" if entry["top1_standard_error"] is None else f" \N{PLUS-MINUS SIGN}{100 * entry['top1_standard_error']:.2f}"
    how = f"{'measured' if entry['top1_measured'] else 'only predicted'}, computed in {entry['top1_numerics']}"
    images = "" if entry["images"] is None else f" on {entry['images']:,} images (1 standard error)"
    return f"top-1 {100 * entry['top1']:.2f}{error} %, {how}{images}"
