"""A platform states its numerics; mistakes in them are named with their line, and files without them are fp32."""

from __future__ import annotations

from pathlib import Path

import pytest

from latency_tables import load_platform, platform_names, save_platform
from ofa.errors import UserError
from ofa.numerics.stated import Analog, AnalogNumerics, check_measurable
from tests.platform_toys import MINIMAL, write
from tests.verbs import ofa

ANALOG = "numerics: {analog: {weight_noise: 0.05, relative_to: layer, activation_bits: 6, source: a test chip}}"


def platform_with(folder: Path, line: str) -> Path:
    """The smallest platform that loads, with a line more; int8, unless the line says otherwise."""
    return write(folder, MINIMAL.replace("precision: fp32", "precision: int8") + line + "\n")


def test_int8_and_analog_are_read_and_written_back(tmp_path: Path) -> None:
    assert load_platform(platform_with(tmp_path, "numerics: int8")).numerics == "int8"
    platform = load_platform(platform_with(tmp_path, ANALOG))
    assert platform.numerics == AnalogNumerics(
        analog=Analog(weight_noise=0.05, relative_to="layer", activation_bits=6, source="a test chip")
    )
    save_platform(platform, tmp_path / "again.yaml")
    assert load_platform(tmp_path / "again.yaml") == platform


def test_a_file_of_an_earlier_version_is_fp32(tmp_path: Path) -> None:
    assert load_platform(platform_with(tmp_path, "")).numerics == "fp32"
    with pytest.raises(UserError, match=r"platform mine: its numerics are fp32"):
        check_measurable(load_platform(platform_with(tmp_path, "")).numerics, "mine")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("numerics: int4", "numerics is 'int4'; allowed are fp32, int8"),
        ("numerics: {int8: yes}", "unknown key 'int8'"),
        (ANALOG.replace("weight_noise: 0.05, ", ""), "key 'weight_noise' is missing"),
        (ANALOG.replace(", source: a test chip", ""), "key 'source' is missing"),
        (ANALOG.replace("a test chip", "' '"), "source is empty"),
        (ANALOG.replace("0.05", "1.5"), "weight_noise is 1.5; must be at least 0 and below 1"),
        (ANALOG.replace("0.05", "nan"), "weight_noise is nan"),
        (ANALOG.replace("layer", "row"), "relative_to is 'row'; allowed are column, layer"),
        (ANALOG.replace("bits: 6", "bits: 1"), "activation_bits is 1; must be at least 2 and at most 16"),
        (ANALOG.replace("relative_to", "relative"), "unknown key 'relative'"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine.yaml:11: ") as caught:
        load_platform(platform_with(tmp_path, line))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_int8_numerics_of_another_precision_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "numerics: int8\n")
    with pytest.raises(UserError, match="numerics is int8 but precision is fp32"):
        load_platform(path)


def test_platforms_that_ship_and_hold_int8_state_what_that_does_to_accuracy() -> None:
    for platform in map(load_platform, platform_names()):
        assert (platform.precision == "int8") == (platform.numerics != "fp32"), platform.name


def test_the_verb_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert ofa(capsys, "platforms", "edge-int8")["numerics"] == "int8"
    shown = ofa(capsys, "platforms", "analog-imc")["numerics"]["analog"]
    assert shown["relative_to"] == "column"
    assert "Assumed" in shown["source"]
