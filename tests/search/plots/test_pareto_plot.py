"""What is drawn and written: surveys of a toy space, with made-up measurements."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer

from ofa.errors import UserError
from search.fronts.survey import Survey, survey
from search.plots.front import COLOURS, draw, save_figure
from search.predictors.ridge import fit_ridge
from search.reports.card import error_note
from search.reports.front_csv import write_csv
from tests.search_toys import ToyAccuracy, ToyCosts, make_space

SPACE = make_space()
IMAGES = 400


def make_survey(platform: str = "toy-phone", measured: bool = True, seed: int = 1) -> Survey:
    rng = np.random.default_rng(0)
    genes = SPACE.sample(60, rng)
    truth = ToyAccuracy(SPACE, 2)
    predictor = fit_ridge(SPACE, genes, truth.top1(genes) + rng.normal(0, 0.004, 60))
    costs = ToyCosts(SPACE, seed)
    part = survey(SPACE, predictor, costs, "energy_mj", platform, 200, rng, budget=800)
    if not measured:
        return part
    chosen = part.to_measure(6)
    return part.with_measurements(chosen, costs.of("energy_mj", chosen), truth.top1(chosen), IMAGES)


@pytest.fixture(scope="module")
def one() -> Survey:
    return make_survey()


def texts(surveys: list[Survey]) -> list[str]:
    figure = draw(surveys, "A title", "and more")
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_long_subtitle_stays_inside_the_figure_and_does_not_narrow_the_axes(one: Survey) -> None:
    words = "run fashion-mnist.ofa, one supernet, no retraining; boundary: chip; energy on stm32-u575 is power x time: " * 3
    widths = []
    for subtitle in ("short", words):
        figure = draw([one], "A title", subtitle)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        axes = figure.axes[0]
        widths.append(axes.get_window_extent(canvas.get_renderer()).width)
        box = axes.texts[0].get_window_extent(canvas.get_renderer())
        assert box.x1 <= figure.bbox.x1
        assert box.y1 < axes.title.get_window_extent(canvas.get_renderer()).y0 + 3
    assert widths[1] == pytest.approx(widths[0], rel=0.01)


def test_measured_points_lie_on_the_front_and_end_with_the_largest(one: Survey) -> None:
    chosen = one.to_measure(6)
    rows = {row.tobytes() for row in one.front}
    assert len(chosen) == 7
    assert all(row.tobytes() in rows for row in chosen[:-1])
    assert np.array_equal(chosen[-1:], SPACE.encode(SPACE.largest()))
    assert chosen[0].tobytes() == one.front[0].tobytes()
    assert one.largest_measured == pytest.approx(ToyAccuracy(SPACE, 2).top1(chosen[-1:])[0])


def test_standard_error_is_binomial(one: Survey) -> None:
    assert one.measured_error == pytest.approx((one.measured_top1 * (1 - one.measured_top1) / IMAGES) ** 0.5)
    known = one.with_measurements(one.to_measure(2), np.ones(3), np.array([0.5, 0.9, 1.0]), IMAGES)
    assert known.measured_error == pytest.approx([0.5 / IMAGES**0.5, 0.3 / IMAGES**0.5])
    errors = np.array([0.1, 0.2, 0.3])
    given = one.with_measurements(one.to_measure(2), np.ones(3), np.array([0.5, 0.9, 0.7]), IMAGES, errors)
    assert (given.measured_error.tolist(), given.largest_error) == ([0.1, 0.2], 0.3)


def test_a_standard_error_that_the_binomial_cannot_tell_is_unknown(tmp_path: Path, one: Survey) -> None:
    """Where all images are right: no figure, no bar, no cell; a standard error of 0 would say that they are enough."""
    top1 = np.append(one.measured_top1[:-1], [1.0, 0.0])
    genes, cost = np.concatenate([one.measured, one.largest]), np.append(one.measured_cost, 1.0)
    perfect = one.with_measurements(genes, cost, top1, IMAGES)
    assert np.isnan([perfect.measured_error[-1], perfect.largest_error]).all()
    perfect = replace(perfect, largest_measured=one.largest_measured, largest_error=one.largest_error)
    low, high = draw([perfect], "A title").axes[0].get_ylim()
    assert low < 100 * perfect.measured_top1.min()
    assert high > 100
    write_csv(tmp_path / "front.csv", [perfect])
    with open(tmp_path / "front.csv", newline="") as file:
        errors = {row["measured_top1"]: row["measured_standard_error"] for row in csv.DictReader(file) if row["images"]}
    assert errors.pop("1.000000") == ""
    assert all(float(error) > 0 for error in errors.values())
    assert error_note(0.025) == "\N{PLUS-MINUS SIGN}2.50 points (1 standard error, binomial)"


def test_bars_show_the_error_between_subnets_where_it_is_known(tmp_path: Path, one: Survey) -> None:
    genes, cost = np.concatenate([one.measured, one.largest]), np.append(one.measured_cost, 1.0)
    top1 = np.append(one.measured_top1, 0.9)
    paired = one.with_measurements(genes, cost, top1, IMAGES, paired_error=0.001)
    assert paired.bars.tolist() == [0.001] * len(one.measured)
    assert (one.bars == one.measured_error).all()
    assert texts([paired])[-1] == "bars: \N{PLUS-MINUS SIGN} standard error between subnets"
    assert texts([paired, one])[-1] == "bars: \N{PLUS-MINUS SIGN} standard error"
    drawn = [
        segment
        for lines in draw([paired], "A title").axes[0].collections
        for segment in getattr(lines, "get_segments", list)()
    ]
    heights = [abs(segment[1][1] - segment[0][1]) for segment in drawn if segment[0][0] == segment[1][0]]
    assert heights == pytest.approx([0.2] * len(one.measured))
    write_csv(tmp_path / "front.csv", [paired])
    with open(tmp_path / "front.csv", newline="") as file:
        assert {row["paired_standard_error"] for row in csv.DictReader(file)} == {"", "0.001000"}


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_writes_the_format_of_the_ending(tmp_path: Path, one: Survey, suffix: str, magic: bytes) -> None:
    path = tmp_path / "deep" / f"front{suffix}"
    save_figure(draw([one], "A title"), path)
    assert path.read_bytes().startswith(magic)
    assert path.stat().st_size > 5000
    with pytest.raises(UserError, match=r"front.gif; allowed are names ending in .png, .svg, .pdf"):
        save_figure(draw([one], "A title"), tmp_path / "front.gif")


def test_svg_is_text_and_repeats_byte_for_byte(tmp_path: Path, one: Survey) -> None:
    for name in ("a.svg", "b.svg"):
        save_figure(draw([one], "A title", "and more"), tmp_path / name)
    content = (tmp_path / "a.svg").read_text()
    assert content == (tmp_path / "b.svg").read_text()
    for text in ("A title", "and more", "Energy per inference (mJ)", "Top-1 accuracy, validation (%)", "front, predicted"):
        assert text in content


def test_legend_tells_measured_from_predicted(one: Survey) -> None:
    assert texts([one]) == [
        "random subnets, predicted (200)",
        "front, predicted (band: 1 standard deviation)",
        f"front, measured on {IMAGES} validation images",
        "largest net, measured",
        "bars: \N{PLUS-MINUS SIGN} standard error",
    ]
    unmeasured = texts([make_survey(measured=False)])
    assert unmeasured[-2:] == ["largest net, predicted", "nothing of the run is measured"]
    assert not any("front, measured" in text for text in unmeasured)


def test_several_platforms_are_named_and_coloured_apart(one: Survey) -> None:
    surveys = [one, make_survey("toy-camera", seed=5)]
    assert texts(surveys)[:2] == ["toy-phone", "toy-camera"]
    figure = draw(surveys, "A title")
    colours = {line.get_color() for line in figure.axes[0].get_lines() if line.get_linestyle() not in ("None", "none")}
    assert colours >= set(COLOURS[:2])
    with pytest.raises(UserError, match="0 platforms to draw; must be 1 to 7"):
        draw([], "A title")


def test_everything_is_inside_the_axes_and_wide_ranges_are_logarithmic(one: Survey) -> None:
    axes = draw([one], "A title").axes[0]
    low, high = axes.get_ylim()
    error = 100 * one.measured_error
    assert low < (100 * one.measured_top1 - error).min()
    assert high > max((100 * one.measured_top1 + error).max(), 100 * (one.largest_measured or 0))
    assert axes.get_xscale() == ("log" if one.cloud_cost.max() > 4 * one.front_cost.min() else "linear")


@pytest.mark.parametrize("ratio", [0.8, 1.2])
def test_bars_reach_the_p90_on_whichever_side_of_the_estimate_it_is(one: Survey, ratio: float) -> None:
    """Of a platform whose estimates are mostly too high, nine of ten measurements lie below the estimate itself."""
    figure = draw([replace(one, front_p90=ratio * one.front_cost)], "A title")
    (bars,) = (container for container in figure.axes[0].containers if isinstance(container, ErrorbarContainer))
    ends = np.array([segment[:, 0] for segment in bars.lines[2][0].get_segments()])
    expected = np.sort(np.stack([one.measured_cost, ratio * one.measured_cost], axis=1), axis=1)
    np.testing.assert_allclose(ends, expected)


def test_csv_has_every_point(tmp_path: Path, one: Survey) -> None:
    write_csv(tmp_path / "front.csv", [one, make_survey("toy-camera", measured=False)])
    with open(tmp_path / "front.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    mine = [row for row in rows if row["platform"] == "toy-phone"]
    kinds = [row["kind"] for row in mine]
    assert (kinds.count("front"), kinds.count("largest"), kinds.count("cloud")) == (len(one.front), 1, 200)
    measured = [row for row in mine if row["kind"] == "front" and row["measured_top1"]]
    assert len(measured) == len(one.measured)
    for row, cost, top1 in zip(measured, one.measured_cost, one.measured_top1, strict=True):
        assert float(row["energy_mj"]) == pytest.approx(cost, rel=1e-5)
        assert float(row["measured_top1"]) == pytest.approx(top1, abs=1e-6)
        assert int(row["images"]) == IMAGES
        genes = np.array([row["genes"].split()], dtype=np.int8)
        assert SPACE.decode(genes)[0].resolution == int(row["resolution"])
    assert sum(row["on_measured_front"] == "1" for row in measured) == len(one.measured_front())
    other = [row for row in rows if row["platform"] == "toy-camera"]
    assert all(row["measured_top1"] == row["images"] == "" for row in other)
