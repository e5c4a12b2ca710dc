"""Answers for a fleet: surfaces against brute force and against a search of each row; files; bad rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ofa.errors import UserError
from ofa.space.search_space import SearchSpace
from search.arrays import Floats
from search.fleet.answer import COST_COLUMNS, Fleet, answer
from search.fleet.files import FleetReport, read_fleet, subnets_file, write_fleet
from search.fleet.surface import Surface, exact_surface, find_surface
from search.problem.limits import Infeasible, Limit
from search.problem.problem import Problem
from search.searchers.exact import Exact
from tests.search_toys import ToyAccuracy, ToyCosts, every_subnet, make_problem, make_space

PLATFORM = "toy-phone"
PAIRS = [("latency_ms",), ("memory_kb",), ("latency_ms", "energy_mj"), ("energy_mj", "memory_kb")]
PAIRS += [
    ("weights_kb", "memory_kb"),
    ("latency_ms", "energy_mj", "memory_kb"),
    ("latency_ms", "energy_mj", "memory_kb", "params_m"),
]


class Opaque:
    """A predictor that is no sum."""

    def __init__(self, space: SearchSpace) -> None:
        self.inside = ToyAccuracy(space, seed=2)

    def top1(self, genes: np.ndarray) -> Floats:
        return self.inside.top1(genes)


def pairs_of(metrics: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((metric, PLATFORM) for metric in metrics)


@pytest.mark.parametrize("metrics", PAIRS)
def test_exact_surface_answers_every_limit_as_brute_force_does(metrics: tuple[str, ...]) -> None:
    problem = make_problem(make_space(stages=2))
    rows = every_subnet(problem.space)
    top1 = problem.top1(rows)
    costs = np.stack([problem.cost(metric, PLATFORM, rows) for metric in metrics])
    surface = exact_surface(problem, pairs_of(metrics))
    assert isinstance(surface, Surface)
    assert surface.exact
    rng = np.random.default_rng(0)
    bounds = np.quantile(costs, rng.random(80), axis=1) * rng.uniform(0.97, 1.03, size=(80, len(metrics)))
    bounds[:5] = np.inf
    found = surface.lookup(bounds)
    for limits, index in zip(bounds, found, strict=True):
        inside = (costs <= limits[:, None]).all(axis=0)
        assert (index >= 0) == inside.any()
        if index >= 0:
            assert surface.top1[index] == pytest.approx(top1[inside].max(), abs=1e-12)
            assert (surface.costs[:, index] <= limits).all()


def test_what_is_attainable_alone_and_together() -> None:
    rows = every_subnet(make_space())[:3]
    costs = np.array([[1.0, 4.0, 2.0], [30.0, 10.0, 16.0]])
    surface = Surface(
        pairs=pairs_of(("latency_ms", "energy_mj")),
        genes=rows,
        top1=np.array([0.9, 0.8, 0.7]),
        costs=costs,
        exact=True,
        method="",
    )
    assert surface.lookup(np.array([[2.0, 16.0], [4.0, 10.0], [1.5, 15.0], [np.inf, np.inf]])).tolist() == [2, 1, -1, 0]
    assert surface.attainable(np.array([1.5, 15.0])).tolist() == [2.0, 16.0]  # 1/3 + 1/15 above, the others further
    alone = surface.attainable(np.array([0.5, 15.0]))
    assert alone[0] == 1.0
    assert np.isnan(alone[1])
    assert surface.attainable(np.array([0.5, 5.0])).tolist() == [1.0, 10.0]


def test_a_part_of_the_space_is_kept_to() -> None:
    space = make_space()
    problem = make_problem(space, space.restrict(resolutions=[24], kernels=[5]))
    surface = find_surface(problem, pairs_of(("latency_ms",)), np.random.default_rng(0), 100)
    assert problem.domain.contains(surface.genes).all()


def make_fleet(bounds: Floats, platforms: int = 1) -> Fleet:
    count = len(bounds)
    return Fleet(
        devices=tuple(f"device {i}" for i in range(count)),
        platforms=tuple(f"phone-{i}" for i in range(platforms)),
        platform=np.arange(count) % platforms,
        bounds=bounds,
        confidence=np.full(count, np.nan),
        lines=np.arange(count) + 2,
    )


def problem_on(platform: str, confidence: float | None = None, opaque: bool = False, **bounds: float) -> Problem:
    """Platforms differ by the seed of their costs."""
    space = make_space()
    costs = {platform: ToyCosts(space, seed=int(platform.split("-")[1]))}
    limits = [Limit(metric, bound, platform) for metric, bound in bounds.items()]
    predictor = Opaque(space) if opaque else ToyAccuracy(space, seed=2)
    return Problem(space=space, predictor=predictor, costs=costs, limits=limits)


def random_bounds(count: int, seed: int = 0) -> Floats:
    """Limits of all kinds of rows: none, one, several; some out of reach."""
    rng = np.random.default_rng(seed)
    rows = every_subnet(make_space())
    costs = ToyCosts(make_space(), seed=1)
    low, high = (np.quantile([costs.of(name, rows) for name in COST_COLUMNS], q, axis=1) for q in (0.0, 0.9))
    bounds = low * 0.9 + (high - low * 0.9) * rng.random((count, len(COST_COLUMNS)))
    return np.where(rng.random(bounds.shape) < 0.4, bounds, np.inf)


def test_every_row_is_what_an_exact_search_of_it_finds() -> None:
    fleet = make_fleet(random_bounds(40), platforms=3)
    result = answer(fleet, problem_on, np.random.default_rng(0), 100)
    assert all(group.surface.exact for group in result.groups)
    assert (result.chosen < 0).any()
    for i, chosen in enumerate(result.chosen):
        limits = {name: bound for name, bound in zip(COST_COLUMNS, fleet.bounds[i], strict=True) if np.isfinite(bound)}
        problem = problem_on(fleet.platforms[fleet.platform[i]], **limits)
        if chosen >= 0:
            found = Exact().search(problem, np.random.default_rng(0), 100)
            assert result.top1[chosen] == pytest.approx(found.top1[0], abs=1e-12)
            assert (problem.utilisation(result.subnets[chosen][None]) <= 1).all()
            assert np.isnan(result.attainable[i]).all()
        else:
            with pytest.raises(Infeasible) as caught:
                Exact().search(problem, np.random.default_rng(0), 100)
            known = {limit.metric: value for limit, value in caught.value.attainable.items()}
            attainable = dict(zip(COST_COLUMNS, result.attainable[i], strict=True))
            assert {name for name in COST_COLUMNS if np.isfinite(attainable[name])} == set(known)
            if not np.isnan(list(known.values())).any() and "together" not in str(caught.value):
                assert all(attainable[name] == pytest.approx(value) for name, value in known.items())


def test_a_predictor_that_is_no_sum_is_answered_from_an_archive() -> None:
    bounds = random_bounds(40)
    bounds[:, 2:] = np.inf
    fleet = make_fleet(bounds)
    searched = answer(fleet, lambda name, sure: problem_on(name, sure, opaque=True), np.random.default_rng(0), 800)
    proven = answer(fleet, problem_on, np.random.default_rng(0), 100)
    assert not any(group.surface.exact for group in searched.groups)
    assert all("not proven optimal (the predictor is not stage-additive)" in g.surface.method for g in searched.groups)
    both = (searched.chosen >= 0) & (proven.chosen >= 0)
    assert both.sum() >= 20
    assert np.array_equal(searched.chosen < 0, proven.chosen < 0)
    gap = proven.top1[proven.chosen[both]] - searched.top1[searched.chosen[both]]
    assert (gap >= -1e-12).all()
    assert gap.mean() < 0.01


# -- files ---------------------------------------------------------------------------------------------------------------


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "devices.csv"
    path.write_text(text)
    return path


def test_reads_devices(tmp_path: Path) -> None:
    text = "device,platform,latency_ms,energy_mj,confidence\nfront door,note10,20,,0.9\n\n,pixel1, 5e1 ,3,\n"
    fleet = read_fleet(write(tmp_path, text))
    assert fleet.devices == ("front door", "line 4")
    assert [fleet.platforms[i] for i in fleet.platform] == ["note10", "pixel1"]
    assert fleet.bounds[:, :2].tolist() == [[20, np.inf], [50, 3]]
    assert np.isinf(fleet.bounds[:, 2:]).all()
    assert fleet.confidence[0] == 0.9
    assert np.isnan(fleet.confidence[1])
    assert fleet.lines.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"devices.csv:1: column 'platform' is missing; columns are platform and optionally device, latency_ms"),
        ("platform,latency\nnote10,3\n", r"devices.csv:1: unknown column 'latency'; columns are platform"),
        ("platform,platform\nnote10,3\n", r"devices.csv:1: column 'platform' is given twice"),
        ("platform,latency_ms\n", r"devices.csv: has no rows"),
        ("platform,latency_ms\nnote10,3\nnote10\n", r"devices.csv:3: has 1 values; line 1 has 2 columns"),
        ("platform,latency_ms\nnote10,3\nnote10,fast\n", r"devices.csv:3: latency_ms is 'fast'; expected a number"),
        ("platform,latency_ms\nnote10,-3\n", r"devices.csv:2: latency_ms is -3; must be finite and above 0"),
        ("platform,latency_ms\nnote10,0\n", r"devices.csv:2: latency_ms is 0; must be finite and above 0"),
        ("platform,latency_ms\nnote10,nan\n", r"devices.csv:2: latency_ms is nan; must be finite and above 0"),
        ("platform,latency_ms\nnote10,inf\n", r"devices.csv:2: latency_ms is inf; must be finite and above 0"),
        ("platform,latency_ms\n\n,4\n", r"devices.csv:3: platform is empty; each device needs one"),
        ("platform,confidence\nnote10,1\n", r"devices.csv:2: confidence is 1; must be at least 0.5 and below 1"),
        ('platform,confidence\n"note10,1\n', r"devices.csv:2: not valid CSV"),
    ],
)
def test_bad_rows_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_fleet(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no.csv: no such file"):
        read_fleet(tmp_path / "no.csv")
    (tmp_path / "image.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UserError, match=r"image.csv: cannot be read"):
        read_fleet(tmp_path / "image.csv")


def make_report(bounds: Floats) -> FleetReport:
    result = answer(make_fleet(bounds), problem_on, np.random.default_rng(0), 100)
    measured = result.top1 - 0.01
    measured[-1] = np.nan
    costs = np.full(bounds.shape, np.nan)
    costs[result.chosen >= 0, 0] = 7.25
    return FleetReport(
        space=make_space(), answer=result, costs=costs, upper=costs * 1.1, std=None, measured=measured, images=400
    )


def test_csv_and_json_say_the_same(tmp_path: Path) -> None:
    report = make_report(random_bounds(40))
    assert write_fleet(tmp_path / "out.csv", report) == [tmp_path / "out.csv", subnets_file(tmp_path / "out.csv")]
    assert write_fleet(tmp_path / "out.json", report) == [tmp_path / "out.json"]
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    document = json.loads((tmp_path / "out.json").read_text())
    beside = json.loads((tmp_path / "out-subnets.json").read_text())
    assert document["subnets"] == beside["subnets"]
    assert document["surfaces"] == beside["surfaces"]
    assert len(rows) == len(document["devices"]) == 40
    for row, device in zip(rows, document["devices"], strict=True):
        assert row["subnet"] == (device["subnet"] or "")
        assert row["feasible"] == str(int(device["feasible"]))
        assert bool(row["attainable"]) != device["feasible"]
        if device["feasible"]:
            subnet = document["subnets"][row["subnet"]]
            assert float(row["predicted_top1"]) == device["predicted_top1"] == subnet["predicted_top1"]
            assert row["measured_top1"] == ("" if subnet["measured_top1"] is None else str(subnet["measured_top1"]))
            assert float(row["latency_ms"]) == 7.25
            assert row["energy_mj"] == ""
    assert sum(subnet["devices"] for subnet in document["subnets"].values()) == sum(
        d["feasible"] for d in document["devices"]
    )
    assert {subnet["images"] for subnet in document["subnets"].values()} == {400, None}
    space = make_space()
    for subnet in document["subnets"].values():
        assert space.decode(np.array(subnet["genes"]))[0].to_dict() == subnet["subnet"]
    with pytest.raises(UserError, match=r"--out is x.txt; with --fleet it is a file, ending in .csv or .json"):
        write_fleet(Path("x.txt"), report)
