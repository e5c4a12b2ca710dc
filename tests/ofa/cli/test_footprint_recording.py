"""`ofa footprint --recording`: the inference of a life is what a meter recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ofa.files.vouched import write_vouched_json
from tests.verbs import error, ofa

WATTS, SECONDS = 0.05, 0.08
METER = ("--marker", "D0", "--boundary", "core rail")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Four inferences of 80 ms at 50 mW, each between rests of 2 mW."""
    lines = ["time_s,power_w,d0"]
    for i in range(1000):
        during = i >= 100 and i < 900 and (i - 100) % 200 < 80
        after = i >= 100 and i < 900 and (i - 100) % 200 == 80
        lines.append(f"{i / 1000!r},{WATTS if during or after else 0.002!r},{int(during)}")
    path = tmp_path / "recording.csv"
    path.write_text("\n".join(lines))
    return path


def test_the_inference_is_metered(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--inferences", 1e6, "--devices", 3, "--training-kwh", 1.5, "--grid", 100)
    found = ofa(capsys, "footprint", *words, "--recording", recording, *METER)
    assert found["inference_j"] == pytest.approx(WATTS * SECONDS)
    assert found["inference_p90_j"] == pytest.approx(WATTS * SECONDS)
    part = found["parts"]["inference"]
    assert part["kind"] == "metered"
    assert part["kwh"] == pytest.approx(3e6 * WATTS * SECONDS / 3.6e6)
    assert part["kg_co2e"] == pytest.approx(part["kwh"] / 10)
    assert "metered: CSV (recording.csv, 1,000 Hz), boundary: core rail; 4 windows in which D0 is high" in part["source"]
    assert found["break_even"]["inferences"]["inferences"] == pytest.approx(1.5 * 3.6e6 / (WATTS * SECONDS))


def test_the_time_of_an_inference_is_recorded_too(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--inferences", 1e6, "--device", "smartphone", "--recording", recording, *METER)
    recorded = ofa(capsys, "footprint", *words)["parts"]["embodied"]["kg_co2e"]
    given = ("--inferences", 1e6, "--device", "smartphone", "--inference-mj", 4, "--inference-ms", 80)
    assert recorded == pytest.approx(ofa(capsys, "footprint", *given)["parts"]["embodied"]["kg_co2e"])


def test_idle_power_is_subtracted_when_told(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("footprint", "--inferences", 1, "--recording", recording, *METER, "--idle-window", "0.91:0.99")
    found = ofa(capsys, *words)
    assert found["inference_j"] == pytest.approx((WATTS - 0.002) * SECONDS)
    assert "boundary: core rail minus idle" in found["parts"]["inference"]["source"]


def test_the_label_is_that_of_the_recording(
    recording: Path, subnet_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words: tuple[Any, ...] = ("footprint", subnet_folder, "--platform", "stm32-u575", "--inferences", 1e6)
    modelled = ofa(capsys, *words)["label"]
    label = ofa(capsys, *words, "--recording", recording, *METER)["label"]
    assert (label["kind"], label["boundary"], label["joules"]) == ("metered", "core rail", pytest.approx(WATTS * SECONDS))
    assert label["source"].startswith("metered: CSV")
    assert (label["p10_over_estimate"], label["p90_over_estimate"]) == pytest.approx((1, 1))
    assert label["index_nj"] == pytest.approx(modelled["index_nj"] * WATTS * SECONDS / modelled["joules"])
    assert (label["ratio_to_frugalest"], label["top1"]) == (None, modelled["top1"])
    bounds = tmp_path / "label.json"
    index = label["index_nj"]
    classes = {"X": [0, 0.9 * index], "Y": [0.9 * index, 1.1 * index], "Z": [1.1 * index, None]}
    write_vouched_json(bounds, {"id": "mine-1", "bounds_nj": classes})
    other = ofa(capsys, *words, "--recording", recording, *METER, "--label", bounds)["label"]
    assert (label["id"], other["id"], other["shown"]) == ("ofa-1", "mine-1", "Y")


def test_mistakes(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("footprint", "--inferences", 1e6)
    assert "or --recording" in error(capsys, *words)
    both = error(capsys, *words, "--recording", recording, *METER, "--inference-mj", 3)
    assert "--inference-mj and --recording are both given" in both
    assert "--marker says what a recording means" in error(capsys, *words, "--inference-mj", 3, "--marker", "D0")
    assert "needs --boundary" in error(capsys, *words, "--recording", recording, "--marker", "D0")
    recording.write_text(recording.read_text().replace("0.5,0.05,1", "0.5,nan,1"))
    refusal = error(capsys, *words, "--recording", recording, *METER)
    assert "recording.csv:502: power_w is nan: the meter lost samples; record again" in refusal
