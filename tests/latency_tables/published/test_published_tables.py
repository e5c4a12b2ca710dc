"""Published lookup tables as platforms: equal to the published package; whatever is wrong in a file is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from latency_tables import load_platform, save_platform
from latency_tables.costs.factors import ShapeGrid
from latency_tables.published.keys import key_of
from latency_tables.published.tables import PROXYLESS_MOBILE, load_tables
from ofa import official
from ofa.cli.main import main
from ofa.errors import UserError
from ofa.space.search_space import load_space
from search.reports.card import Accuracy, build_card
from tests.verbs import error, ofa

SPACE = load_space("mbv3-w1.2")
POOL = "AvgPool2D-input:2x2x1152-output:1x1x1152:\n  count: 50\n  mean: 0.0001\n  std: 1e-05\n"


def published_text(resolution: int = 64, factor: float = 1.0) -> str:
    """A table in the published format: made-up times of the blocks of mbv3-w1.2 at 0.1 ms per MMAC, and a little."""
    half, last, lines = resolution // 2, resolution // 32, []

    def add(key: str, macs: float) -> None:
        lines.append(f"{key}:\n  count: 50\n  mean: {factor * (0.1 * macs * 1e-6 + 1e-4):.9g}\n  std: {factor * 1e-5:g}\n")

    add(f"AvgPool2D-input:{last}x{last}x1152-output:1x1x1152", 0)
    add(f"Conv-input:{resolution}x{resolution}x3-output:{half}x{half}x24", 27 * 24 * half**2)
    add(f"Conv_1-input:{last}x{last}x192-output:{last}x{last}x1152", 192 * 1152 * last**2)
    add("Conv_2-input:1x1x1152-output:1x1x1536", 1152 * 1536)
    add("Logits-input:1x1x1536-output:1000", 1536 * 1000)
    for shape in ShapeGrid.of(replace(SPACE, resolutions=(resolution,))).distinct():
        if shape.kind == "mbconv":
            add(key_of(shape, v3=True), sum(op.macs for op in shape.main))
    return "".join(lines)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "64_lookup_table.yaml"
    path.write_text(published_text())
    return path


# -- equal to the published package ----------------------------------------------------------------------------------------


@pytest.mark.reference
def test_note10_equals_the_published_package(reference: Path, tmp_path: Path) -> None:
    golden = json.loads((reference / "golden" / "search.json").read_text())["mbv3-w1.2"]
    genes = SPACE.encode([official.to_subnet(SPACE, net["arch"], net["resolution"]) for net in golden])
    platform = load_platform(reference / "tables" / "note10")
    assert platform.name == "note10"
    ours = platform.costs(SPACE).latency_ms(genes)
    np.testing.assert_allclose(ours, [net["note10_latency_ms"] for net in golden], rtol=1e-12)
    save_platform(platform, tmp_path / "note10.yaml")
    assert load_platform(tmp_path / "note10.yaml") == platform


@pytest.mark.reference
def test_pixel1_is_the_sum_of_its_entries(reference: Path) -> None:
    path = reference / "tables" / "pixel1_proxyless_mobile_trim.yaml"
    lines = path.read_text().splitlines()
    means = {line.rstrip(":"): float(lines[i + 2].split()[1]) for i, line in enumerate(lines) if not line.startswith(" ")}
    blocks = [shape for shape in ShapeGrid.of(PROXYLESS_MOBILE).distinct() if shape.kind == "mbconv"]
    keys = [key_of(shape, v3=False) for shape in blocks]
    platform = load_platform(path)
    assert [platform.block_ms(shape) for shape in blocks] == [means[key] for key in keys]
    smallest = platform.costs(PROXYLESS_MOBILE).latency_ms(0 * PROXYLESS_MOBILE.levels)
    ends = [means[key] for key in means if not key.startswith("expanded_conv")]
    first = [key_of(shape, v3=False) for shape in blocks if shape.main[0].in_channels != shape.main[-1].out_channels]
    chosen = [key for key in first if "kernel:3" in key and ("expand:3" in key or "expand:1" in key)]
    assert len(chosen) == 7
    np.testing.assert_allclose(smallest, sum(ends) + sum(means[key] for key in chosen), rtol=1e-12)


# -- files -----------------------------------------------------------------------------------------------------------------


def test_a_file_is_a_platform_of_its_resolution(table: Path) -> None:
    platform = load_platform(table)
    space = replace(SPACE, resolutions=(64,))
    assert platform.table is not None
    assert platform.table.fingerprint == space.fingerprint
    genes = space.sample(50, np.random.default_rng(0))
    costs = platform.costs(space)
    entries = [1 + sum(len(stage.blocks) for stage in subnet.stages) + 4 for subnet in space.decode(genes)]
    np.testing.assert_allclose(costs.latency_ms(genes), 0.1 * costs.macs_m(genes) + 1e-4 * np.array(entries), rtol=1e-6)
    with pytest.raises(UserError, match="stem 3->24 channels at 128->64 px was not measured"):
        platform.costs(SPACE).latency_ms(0 * SPACE.levels)


def test_a_folder_keeps_the_resolutions_apart(tmp_path: Path) -> None:
    # Both have feature maps of 8, 4 and 2 px: a shape measured in two networks keeps both times.
    for resolution, factor in ((60, 2.0), (64, 1.0)):
        (tmp_path / f"{resolution}_lookup_table.yaml").write_text(published_text(resolution, factor))
    platform = load_platform(tmp_path)
    costs = platform.costs(replace(SPACE, resolutions=(60, 64)))
    small, large = costs.factors("latency_ms").later[-1]
    np.testing.assert_allclose(small, 2 * large, rtol=1e-6)
    block = ShapeGrid.of(replace(SPACE, resolutions=(64,))).later[-1].flat[0]
    assert platform.block_ms(block, 63) == platform.block_ms(block) == platform.block_ms(block, 64)
    assert platform.block_ms(block, 20) == platform.block_ms(block, 60) == pytest.approx(2 * platform.block_ms(block))
    save_platform(platform, tmp_path / "out.yaml")
    assert load_platform(tmp_path / "out.yaml") == platform


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  mean: 0.0001\n", "  mean: -0.5\n", r"table\.yaml:1: key 'AvgPool2D-input.*': mean is -0\.5; must be above 0"),
        ("  mean: 0.0001\n", "  mean: .nan\n", r"table\.yaml:1: key 'AvgPool2D.*': mean is nan; must be a finite number"),
        ("  mean: 0.0001\n", "  mean_us: 100\n", r"table\.yaml:1: key .* has count, mean_us, std; expected mean, std"),
        ("  mean: 0.0001\n", "  mean: fast\n", "mean is 'fast'; must be a finite number"),
        ("  std: 1e-05\n", "  std: -1\n", "std is -1; must be at least 0"),
        ("  count: 50\n", "  count: 0\n", "count is 0; must be above 0"),
        ("Conv-input:64x64x3", "Conv-input:64x63x3", r"table\.yaml:5: key 'Conv-input:64x63.*': feature maps are not sq"),
        ("Conv-input:64x64x3-output:32x32", "Conv-input:64x64x3-output:31x31", "output is 31 px; 64 px at stride 2 gives"),
        ("Conv_2-input", "Conv_3-input", r"table\.yaml:13: key 'Conv_3-input.* is not of a published table; one looks like"),
        (POOL, "", r"table\.yaml: key 'AvgPool2D-input:\.\.\.' is missing"),
        ("-idskip:0", "-idskip:1", "idskip is 1 with stride 2, 24 to 32 channels; input is not output"),
        ("-kernel:5", "-kernel:4", "kernel is 4 and stride 2; kernels are odd"),
        ("-se:0-hs:0", "", "se and hs are in some keys of the file and not in others"),
        ("output:32x32x24", "output:32x32x20", "blocks match no known space"),
    ],
)
def test_a_mistake_is_named(table: Path, old: str, new: str, message: str) -> None:
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        load_platform(table)


def test_a_duplicate_key_names_its_line(table: Path) -> None:
    text = table.read_text()
    table.write_text(text + "".join(text.splitlines(keepends=True)[:4]))
    line = len(text.splitlines()) + 1
    with pytest.raises(UserError, match=rf"table\.yaml:{line}: .*key 'AvgPool2D-input:.*' is given twice"):
        load_platform(table)


def test_a_second_stem_is_refused(table: Path) -> None:
    text = table.read_text()
    table.write_text(text + "Conv-input:32x32x3-output:16x16x24:\n  count: 50\n  mean: 1\n  std: 0.1\n")
    with pytest.raises(UserError, match=r"key 'Conv-input:32x32x3.*there is another Conv, 'Conv-input:64.*one resolution"):
        load_platform(table)


def test_a_missing_block_is_named_by_its_key(table: Path) -> None:
    lines = table.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if "kernel:5-stride:1-idskip:1" in line)
    key = lines[at].strip().rstrip(":")
    table.write_text("".join(lines[:at] + lines[at + 4 :]))
    block = r"mbconv 32->32 channels at 16->16 px, kernel 5, hidden \d+, residual"
    with pytest.raises(
        UserError, match=rf"table\.yaml: key '{key[:70]}.*' is missing \({block}\); space mbv3-w1\.2 needs it at 64 px"
    ):
        load_platform(table)


# -- what a table does not say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "factor"), [("us", 1e3), ("s", 1e-3)])
def test_a_unit_in_doubt_is_asked_for_and_the_answer_taken(
    table: Path, unit: str, factor: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_ms = load_tables(table).table
    table.write_text(published_text(factor=factor))
    with pytest.raises(
        UserError, match=r"table\.yaml:5: key 'Conv-input.*implies .* GMAC/s if it is in ms, .*: ofa platforms import"
    ):
        load_platform(table)
    out = tmp_path / "out.yaml"
    facts = ofa(capsys, "platforms", "import", table, "--out", out, "--unit", unit)
    assert facts["details"]["unit of its times"] == f"{unit}, as stated"
    converted = load_platform(out).table
    assert converted is not None
    assert in_ms is not None
    for got, wanted in zip(converted.blocks, in_ms.blocks, strict=True):
        assert got.median_ms == pytest.approx(wanted.median_ms)
        assert got.p90_ms == pytest.approx(wanted.p90_ms)


def test_a_slow_device_is_taken_at_its_word(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A microcontroller: 0.01 GMAC/s."""
    fast = load_tables(table)
    table.write_text(published_text(factor=1000))
    out = tmp_path / "slow.yaml"
    assert "which unit is it?" in error(capsys, "platforms", "import", table, "--out", out)
    ofa(capsys, "platforms", "import", table, "--out", out, "--unit", "ms")
    space = replace(SPACE, resolutions=(64,))
    genes = space.sample(5, np.random.default_rng(0))
    slow_ms = load_platform(out).costs(space).latency_ms(genes)
    np.testing.assert_allclose(slow_ms, 1000 * fast.costs(space).latency_ms(genes), rtol=1e-6)


def test_runtime_and_precision_are_unknown_unless_stated(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent, told = tmp_path / "silent.yaml", tmp_path / "told.yaml"
    facts = ofa(capsys, "platforms", "import", table, "--out", silent)
    assert (facts["runtime"], facts["precision"], facts["threads"]) == ("not stated", None, None)
    assert "memory_kb" not in facts["metrics"]
    words = ["--device", "A board", "--runtime", "R 1.0", "--precision", "int8", "--batch", 2, "--threads", 4]
    ofa(capsys, "platforms", "import", table, "--out", told, *words, "--licence", "MIT")
    platform = load_platform(told)
    assert (platform.device, platform.runtime, platform.licence) == ("A board", "R 1.0", "MIT")
    assert (platform.precision, platform.batch, platform.threads) == ("int8", 2, 4)
    space = replace(SPACE, resolutions=(64,))
    genes = space.sample(1, np.random.default_rng(0))
    assert platform.costs(space).memory_kb(genes) > 0
    costs = load_platform(silent).costs(space)
    for metric in ("memory_kb", "activations_kb", "weights_kb"):
        with pytest.raises(UserError, match="platform silent: memory is unknown: its precision is not stated; give"):
            costs.of(metric, genes)
    card = build_card("a net", [load_platform(silent)], [costs], genes, Accuracy(), {})
    unknown = [figure for figure in card["figures"] if figure["value"] is None]
    assert [figure["unit"] for figure in unknown] == ["mJ", "kB", "kB", "kB"]
    assert "not stated" in card["platform"]
    assert main(["platforms", str(silent)]) == 0
    assert "unknown" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--unit", "min"], "--unit is min; allowed are ms, us, s"),
        (["--precision", "fp31"], "--precision is fp31; allowed are fp32"),
        (["--batch", "0"], "--batch is 0; must be at least 1"),
    ],
)
def test_wrong_statements(
    table: Path, words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error(capsys, "platforms", "import", table, "--out", tmp_path / "x.yaml", *words)


@pytest.mark.parametrize("indent", [1, "\t", None])
def test_json_is_read_as_yaml_is_and_a_folder_of_either(table: Path, indent: int | str | None, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "60.json").write_text(json.dumps(yaml.safe_load(published_text(60)), indent=indent))
    table.rename(folder / "64.yml")
    (folder / "README.md").write_text("# a board\n")
    assert load_platform(folder).details["resolutions"] == "60, 64"
    assert load_platform(folder / "60.json").details["resolutions"] == "60"


def test_mistakes_of_a_folder(table: Path, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(table.read_text())
    with pytest.raises(UserError, match=r"other\.yaml: is for resolution 64, as 64_lookup_table\.yaml is; give each once"):
        load_tables(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no \*\.yaml, \*\.yml, \*\.json here"):
        load_platform(tmp_path / "empty")


def test_ofa_platforms_import(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "phone.yaml"
    assert main(["platforms", "import", str(table), "--out", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["name"], facts["table"]["space"], facts["file"]) == ("phone", "mbv3-w1.2", str(out))
    assert load_platform(out) == load_tables(table, "phone")
    assert main(["platforms", "import", str(table), "--out", str(out), "--name", "mine"]) == 0
    assert "measured blocks of space mbv3-w1.2" in capsys.readouterr().out
    for words, message in (
        (["import", str(table)], "ofa platforms import SOURCE --out FILE"),
        (["import", str(table), "--out", "phone"], "--out is phone; must end in .yaml"),
        (["edge-int8", "eyeriss-like"], "expected no word, one NAME, or: import SOURCE"),
    ):
        assert main(["platforms", *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(("count", "unknown"), [(2, 0), (1, 1)])
def test_a_single_run_has_no_quantiles(tmp_path: Path, count: int, unknown: int) -> None:
    """Its published deviation is 0 because there is nothing to deviate from."""
    path = tmp_path / "once.yaml"
    path.write_text(published_text().replace("count: 50", f"count: {count}", 1).replace("std: 1e-05", "std: 0", 1))
    table = load_platform(path).table
    assert table is not None
    assert sum(block.p90_ms is None for block in table.blocks) == unknown
    assert sum(block.p10_ms is None for block in table.blocks) == unknown
