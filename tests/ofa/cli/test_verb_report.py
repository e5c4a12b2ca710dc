"""`ofa report`: one page that loads nothing, says what the other verbs say, and takes no harm from names in it."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ofa.files.atomic import atomic_write
from ofa.runs.run_files import RunFiles
from search.page import html as page_module
from tests.verbs import error, figures, ofa

pytest.importorskip("vl_convert")
Capture = pytest.CaptureFixture[str]
MOST_BYTES = 5_000_000


class Page(HTMLParser):
    """What a browser would see: identifiers, headings, references, the JSON."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.identifiers: list[str] = []
        self.labelled: list[str] = []
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self._inside = ""
        self.json = ""
        self.feed(text)
        self.data: dict[str, Any] = json.loads(self.json)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.identifiers += [facts["id"]] if "id" in facts else []
        self.labelled += [facts["for"]] if "for" in facts else []
        self.loaded += [facts[name] for name in ("src", "href") if name in facts]
        self._inside = facts.get("id", "") if tag == "script" else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "contents":
            self.json += data


@pytest.fixture(scope="module")
def run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, with a predictor."""
    from ofa.cli.main import main

    copy = tmp_path_factory.mktemp("report") / "run"
    shutil.copytree(trained_run, copy)
    assert main(["predictor", str(copy), "--samples", "24", "--kind", "ridge", "--images", "20", "--json"]) == 0
    return copy


@pytest.fixture(scope="module")
def written(run: Path) -> Page:
    from ofa.cli.main import main

    out = run.parent / "report.html"
    words = ["report", str(run), "--platform", "edge-int8", "--platform", "note10", "--out", str(out), "--json"]
    assert main(words) == 0
    assert out.stat().st_size < MOST_BYTES
    return Page(out.read_text(encoding="utf-8"))


def test_it_is_one_page_that_loads_nothing(written: Page) -> None:
    assert all(target.startswith(("#", "data:,")) for target in written.loaded)
    assert len(written.identifiers) == len(set(written.identifiers))
    assert set(written.labelled) <= set(written.identifiers)
    sections = {"fronts", "subnets", "training", "predictor", "footprint", "provenance"}
    assert sections <= set(written.identifiers)
    assert written.tags.count("noscript") == 1
    scripts = (page_module.HERE / "page.js").read_text()
    assert set(re.findall(r'\$\("([a-z-]+)"\)', scripts)) <= set(written.identifiers)


def test_the_best_under_each_limit_is_that_of_a_query(written: Page, run: Path, tmp_path: Path, capsys: Capture) -> None:
    data = written.data
    for front in data["fronts"]:
        platform = front["platform"] or "edge-int8"
        costs = [data["subnets"][number]["costs"][platform][front["metric"]] for number in front["subnets"]]
        limit = sorted(costs)[len(costs) // 2] * 1.0001
        best = max(
            (number for number, cost in zip(front["subnets"], costs, strict=True) if cost <= limit),
            key=lambda number: data["subnets"][number]["predicted"],
        )
        words = ("--platform", platform, f"--{front['metric'].replace('_', '-')}", limit, "--no-verify", "--unrecalibrated")
        answer = ofa(capsys, "query", run, *words, "--out", tmp_path / "net")
        predicted = figures(answer["card"])["Top-1, validation (predicted)"]["value"]
        assert 100 * data["subnets"][best]["predicted"] == pytest.approx(predicted, abs=1e-3), front["metric"]


def test_every_subnet_is_described_whole(written: Page, run: Path) -> None:
    data, space = written.data, RunFiles.open(run).space
    kinds = {(front["metric"], front["platform"]) for front in data["fronts"]}
    assert {("energy_mj", "edge-int8"), ("latency_ms", "note10"), ("macs_m", None)} <= kinds
    assert ("energy_mj", "note10") not in kinds  # it states no energy
    assert "energy_mj" in data["platforms"][1]["unknown"]
    for subnet in data["subnets"]:
        assert len(subnet["blocks"]) == 2 + sum(stage.depth for stage in space.decode([subnet["genes"]])[0].stages)
        for platform, by_metric in subnet["shares"].items():
            costs = subnet["costs"][platform]
            assert all(len(parts) == len(subnet["blocks"]) for parts in by_metric.values())
            assert sum(by_metric["macs_m"]) == pytest.approx(costs["macs_m"], rel=0.02)
        assert set(subnet["letters"]) == {"edge-int8"}
    measured = [subnet["measured"] for subnet in data["subnets"] if subnet["measured"] is not None]
    assert measured
    assert data["predictor"]["pairs"]
    assert data["subnets"][data["largest"]]["genes"] == space.encode(space.largest())[0].tolist()
    assert [row["name"] for row in data["epochs"]]
    assert any(row["purpose"] == "training" for row in data["work"])


def test_it_says_where_energies_are_of_different_things(run: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "mixed.html"
    ofa(capsys, "report", run, "--platform", "raspi4-tflite-int8", "--platform", "stm32-u575", "--out", out)
    assert "mains" in Page(out.read_text()).data["mixed_boundaries"]


def test_it_tells_no_path_of_this_machine(written: Page, run: Path) -> None:
    assert ["Run", run.name] in written.data["provenance"]
    told = json.dumps({name: value for name, value in written.data.items() if name != "asked"})
    assert str(run.parent) not in told
    found_at = RunFiles.open(run).record().found_at  # type: ignore[union-attr]
    assert found_at not in told


def test_names_in_the_data_cannot_end_the_script(written: Page) -> None:
    hostile = "</script><script>alert(1)</script><!--&"
    contents = written.data | {"name": hostile, "provenance": [["Data", hostile]], "asked": hostile}
    text = page_module.page(contents)
    assert hostile not in text
    assert "<script>alert" not in text
    again = Page(text)
    assert again.data["provenance"] == [["Data", hostile]]
    assert again.tags.count("script") == written.tags.count("script")


def test_mistakes_are_one_line(run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "r.html"
    assert "--out is" in error(capsys, "report", run, "--out", tmp_path / "r.pdf")
    assert "no run directory" in error(capsys, "report", tmp_path, "--out", out)
    assert "--platform is given 7 times" in error(
        capsys, "report", run, *(word for name in SEVEN for word in ("--platform", name)), "--out", out
    )
    assert "must be distinct" in error(capsys, "report", run, "--platform", "note10", "--platform", "note10", "--out", out)
    bare = tmp_path / "bare"
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("predictor"))
    assert "no predictor there" in error(capsys, "report", bare, "--out", out)
    monkeypatch.setattr(page_module, "find_spec", lambda name: None)
    assert 'pip install -e ".[report]"' in error(capsys, "report", run, "--out", out)
    assert not out.exists()


SEVEN = ("edge-int8", "note10", "note8", "pixel1", "pixel2", "lg-g8", "s7-edge")


def test_a_damaged_log_is_one_line(run: Path, tmp_path: Path, capsys: Capture) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    metrics = copy / "metrics.jsonl"
    atomic_write(metrics, metrics.read_text().replace("loss", "lost", 1))
    assert "metrics.jsonl:1" in error(capsys, "report", copy, "--out", tmp_path / "r.html")
