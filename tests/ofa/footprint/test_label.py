"""The label as an entry of a card, and as a drawing."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from ofa import footprint
from ofa.footprint.label_entry import Energy, Top1, energy_text, label_entry, sentence, with_letter
from ofa.footprint.label_svg import label_svg

ON = {
    "platform": "edge",
    "device": "a chip",
    "runtime": "a runtime",
    "precision": "int8",
    "batch": 1,
    "kind": "modelled",
    "boundary": "chip",
}
MEASURED = Top1(value=0.884, measured=True, standard_error=0.004, images=5000)


def entry(joules: float | None = 3e-5, top1: Top1 = MEASURED, **others: Any) -> dict[str, Any]:
    energy = Energy(joules=joules, low=0.5, high=2.0, uncertainty="a factor of 2")
    given = {"on": ON, "input_values": 784, "classes": 10, "date": "2026-11-28", **others}
    return label_entry(energy=energy, top1=top1, **given)


def words(drawing: str) -> str:
    return " ".join(text.text or "" for text in ET.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text"))


def test_the_entry_has_the_letters_of_the_formula() -> None:
    found = entry()
    by_formula = footprint.label(3e-5, 784, 0.884, 10, 0.5, 2.0)
    assert (found["letter"], found["shown"], found["index_nj"]) == (by_formula.letter, "C-D", by_formula.index_nj)
    assert len(found["checksum"]) == 64


def test_everything_that_must_stand_on_it_does() -> None:
    drawn = words(label_svg(entry(ratio=1.351)))
    for wanted in (
        "MODELLED",
        "edge",
        "a runtime, int8, batch 1",
        "88.40",
        "computed in fp32",
        "±0.40",
        "5,000 images",
        "30 mJ",
        "per 1,000",
        "energy of: chip",
    ):
        assert wanted in drawn, wanted
    for wanted in ("1.35 times the frugalest", "label ofa-1", entry()["checksum"][:12], "2026-11-28", "p10", "p90"):
        assert wanted in drawn, wanted


def test_two_letters_are_two_arrows_and_one_is_one() -> None:
    both, one = label_svg(entry()), label_svg({**entry(), "shown": "D"})
    assert both.count('stroke-width="2"/><text') == 2
    assert one.count('stroke-width="2"/><text') == 1
    assert "p10" not in words(one)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (entry(joules=None), "the energy is unknown"),
        (entry(top1=Top1(value=0.1, measured=True)), "top-1 of 0.1 is not above chance (1 of 10)"),
        (entry(top1=Top1(value=None, measured=False)), "the top-1 is unknown"),
    ],
)
def test_without_a_letter_it_says_why(found: dict[str, Any], why: str) -> None:
    assert found["letter"] is found["shown"] is found["index_nj"] is None
    assert sentence(found) == f"no letter on edge: {why}"
    drawn = words(label_svg(found))
    assert why.split(" is")[0] in drawn
    assert "p90" not in drawn


def test_a_predicted_accuracy_is_said() -> None:
    found = entry(top1=Top1(value=0.884, measured=False))
    assert "only predicted" in sentence(found)
    drawn = words(label_svg(found))
    assert "MODELLED, PREDICTED" in drawn
    assert "only predicted" in drawn


def test_an_unknown_ratio_says_why() -> None:
    assert "ratio to the frugalest unknown: no exact front" in words(label_svg(entry(ratio_note="no exact front")))


def test_other_weights_get_another_letter() -> None:
    better = with_letter(entry(), Top1(value=0.99, measured=True, images=10))
    assert better["index_nj"] < entry()["index_nj"]
    assert better["images"] == 10


def test_any_name_is_drawn_as_it_is() -> None:
    names = {"platform": "a<b>&\"c'", "device": "x " * 300, "runtime": "<script>alert(1)</script>"}
    drawn = label_svg(entry(on={**ON, **names}))
    assert "<script>" not in drawn
    assert "a<b>&\"c'" in words(drawn)


@pytest.mark.parametrize(
    ("joules", "text"),
    [
        (0.0, "0 J"),
        (4.2e-9, "4.2 nJ"),
        (1e-14, "0.01 pJ"),
        (3e-5, "30 µJ"),
        (0.0197, "19.7 mJ"),
        (12.0, "12 J"),
        (7200.0, "2 Wh"),
        (7.2e6, "2 kWh"),
    ],
)
def test_energies_in_a_unit_that_suits_them(joules: float, text: str) -> None:
    assert energy_text(joules) == text
