"""The page of `ofa report` in headless Chromium: it loads, answers as a query does, and keeps quiet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.verbs import figures, ofa

pytestmark = pytest.mark.browser
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
WIDTHS = (1280, 390)
SOON_MS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium here (apt install chromium, or set CHROMIUM)")
    with sync_api.sync_playwright() as client:
        browser = client.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ofa.cli.main import main

    out = tmp_path_factory.mktemp("page") / "report.html"
    words = ["report", "fashion-mnist", "--platform", "edge-int8", "--platform", "stm32-u575", "--platform", "note10"]
    assert main([*words, "--out", str(out), "--json"]) == 0
    return out


def opened(browser: Any, report: Path, width: int, scheme: str = "light") -> tuple[Any, list[str]]:
    """The page, and what its console said or asked of a network."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda problem: said.append(str(problem)))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
    page.goto(report.as_uri())
    page.wait_for_selector("#front-chart svg", timeout=SOON_MS)
    page.wait_for_selector("#predictor-chart svg", timeout=SOON_MS)
    return page, said


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_keeps_quiet(browser: Any, report: Path, width: int, scheme: str) -> None:
    page, said = opened(browser, report, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for chart in ("front", "accuracy", "loss", "predictor"):
        assert page.locator(f"#{chart}-chart svg").count() == 1
    for name in page.locator("#metric input").evaluate_all("inputs => inputs.map((input) => input.value)"):
        page.check(f"#metric input[value={name}]")
        page.wait_for_function("document.querySelector('#front-chart svg') !== null")
    assert said == []
    page.close()


def test_the_slider_answers_as_a_query_does(
    browser: Any, report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, said = opened(browser, report, WIDTHS[0])
    for metric, platform in (("energy_mj", "edge-int8"), ("latency_ms", "note10"), ("memory_kb", "stm32-u575")):
        page.check(f"#metric input[value={metric}]")
        page.select_option("#answer-platform", platform)
        answers = set()
        for place in (150, 500, 850):
            page.locator("#limit").evaluate(
                "(slider, place) => { slider.value = place; slider.dispatchEvent(new Event('input', {bubbles: true})); }",
                place,
            )
            words = page.inner_text("#command").split()
            assert words[:2] == ["ofa", "query"]
            given = ["--no-verify", "--unrecalibrated", "--out", tmp_path / "net"]
            card = ofa(capsys, *words[1 : words.index("--out")], *given)["card"]
            predicted = figures(card)["Top-1, validation (predicted)"]["value"]
            shown = page.locator("#answer-body").inner_text()
            assert f"{predicted:.2f}%" in shown
            answers.add(page.locator("#answer-body").get_attribute("data-subnet"))
        assert len(answers) > 1
    assert said == []
    page.close()


def test_subnets_are_compared_and_the_footprint_follows_its_sliders(browser: Any, report: Path) -> None:
    page, said = opened(browser, report, WIDTHS[0])
    assert page.locator(".diagram").count() == 2
    page.locator("#limit").focus()
    page.keyboard.press("ArrowRight")
    page.click("#pick")
    assert page.locator(".diagram").count() == 3
    page.locator(".diagram button").first.click()
    assert page.locator(".diagram").count() == 2
    page.fill("#training-kwh", "0.5")
    page.select_option("#grid", "1")
    before = page.inner_text("#break-even")
    assert "Use passes training after" in before
    page.locator("#inferences").evaluate(
        "slider => { slider.value = 12; slider.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    assert page.inner_text("#break-even") != before
    assert "kg CO2e" in page.inner_text("#footprint-body")
    assert said == []
    page.close()
