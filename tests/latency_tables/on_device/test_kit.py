"""A kit measures a device with Python and ONNX Runtime alone; its results become a platform here."""

from __future__ import annotations

import ast
import json
import os
import resource
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from latency_tables import load_platform
from latency_tables.costs.factors import ShapeGrid
from latency_tables.on_device.main import read_manifest
from latency_tables.on_device.results import read, settings_of
from latency_tables.on_device.timing import REFERENCE, VISITS
from latency_tables.profiling.kit import KIT_MODULES, ON_DEVICE, export_kit
from latency_tables.profiling.plan import Settings, SpacePlan
from ofa.cli.main import main
from ofa.files.vouched import vouched_line
from ofa.space.search_space import load_space
from tests.platform_toys import of_0_1_0
from tests.space_toys import PROFILED

INITS = {"latency_tables/__init__.py", "latency_tables/on_device/__init__.py"}
FILES = {"README.md", "run.py", "manifest.json", "models.zip"} | INITS
ISOLATED = """\
import importlib.abc, runpy, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "ofa", "onnx", "scipy", "yaml", "tqdm", "search", "WITHOUT"):
            raise ImportError(f"a device does not have {name}")

sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]

import time, types
from latency_tables.on_device import timing  # the kit's: the time that its thread had a processor, however busy the machine

timing.time = types.SimpleNamespace(monotonic=time.monotonic, perf_counter_ns=time.thread_time_ns)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kit")


@pytest.fixture(scope="module")
def space_file(folder: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(PROFILED)
    return path


@pytest.fixture(scope="module")
def kit(folder: Path, space_file: Path) -> Path:
    """Exported by the command and unpacked."""
    archive = folder / "kit.zip"
    options = ["--space", str(space_file), "--runs", "10", "--networks", "6", "--json"]
    assert main(["profile", "--export", str(archive), *options]) == 0
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder / "device")
    return folder / "device"


def run_kit(kit: Path, *options: str, without: str = "ofa") -> subprocess.CompletedProcess[str]:
    """As on a device: nothing of the project can be imported, nor the package `without`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "error", "-c", ISOLATED.replace("WITHOUT", without), str(kit / "run.py"), *options]
    return subprocess.run(command, cwd=kit, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def results(kit: Path) -> Path:
    """What the device measured."""
    done = run_kit(kit, "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "written: results.csv; now, where ofa is installed: ofa profile --import results.csv" in done.stdout
    assert "visits, 0 s left" in done.stderr
    return kit / "results.csv"


def rounds_of_all(results: Path) -> list[str]:
    """Its lines up to the end of the rounds that visit every chain; where the machine was restless, more rounds follow."""
    head, titles, *rows = results.read_text().splitlines(keepends=True)
    return [head, titles, *(row for row in rows if int(row.split(",")[1]) < VISITS)]


def imported(results: Path, space_file: Path, out: Path, *options: str) -> int:
    return main(["profile", "--import", str(results), "--space", str(space_file), "--out", str(out), *options])


# -- the kit ---------------------------------------------------------------------------------------------------------------


def test_a_kit_holds_what_it_needs(folder: Path, kit: Path) -> None:
    with zipfile.ZipFile(folder / "kit.zip") as archive:
        assert set(archive.namelist()) == FILES | {f"latency_tables/on_device/{name}" for name in KIT_MODULES}
    plan = SpacePlan.of(load_space(folder / "tiny.yaml"), Settings(runs=10, fit_networks=2, test_networks=4))
    with zipfile.ZipFile(kit / "models.zip") as archive:
        assert set(archive.namelist()) == {f"{model}.onnx" for model in plan.models}
    assert json.loads((kit / "manifest.json").read_text())["plan"] == plan.timing.digest
    assert "python run.py" in (kit / "README.md").read_text()


def test_its_code_imports_nothing_that_a_device_lacks() -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "onnxruntime", "ai_edge_litert"} | {
        f"latency_tables.on_device.{name[:-3]}" for name in KIT_MODULES
    }
    for name in KIT_MODULES:
        tree = ast.parse((ON_DEVICE / name).read_text(), feature_version=(3, 9))
        for node in ast.walk(tree):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert {module for module in modules if module and module != "collections.abc"} <= allowed, name


def test_the_same_kit_is_the_same_bytes(space_file: Path, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        export_kit(tmp_path / name, load_space(space_file), [8], Settings(fit_networks=1, test_networks=1))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_weights_compress(tmp_path: Path) -> None:
    """Random weights do not: those of a kit repeat."""
    plan = export_kit(tmp_path / "k.zip", load_space("fmnist"), [28], Settings(fit_networks=1, test_networks=2))
    assert len(plan.networks) == 3
    with zipfile.ZipFile(tmp_path / "k.zip") as archive, zipfile.ZipFile(archive.open("models.zip")) as models:  # type: ignore[arg-type]
        sizes = [(info.file_size, info.compress_size) for info in models.infolist()]
    assert sum(size for size, _ in sizes) > 10 * sum(packed for _, packed in sizes)


def test_a_damaged_kit_is_refused(kit: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "latency_tables" / "on_device").mkdir(parents=True)
    for path in kit.rglob("*"):
        if path.is_file() and path.suffix in (".py", ".json", ".zip"):
            (broken / path.relative_to(kit)).write_bytes(path.read_bytes())
    (broken / "models.zip").write_bytes((kit / "models.zip").read_bytes()[:-1])
    done = run_kit(broken)
    assert done.returncode == 2
    assert "models.zip: damaged: its digest is not that in manifest.json; unpack the kit again" in done.stderr
    manifest = (kit / "manifest.json").read_text()
    runs = json.loads(manifest)["runs"]
    for text in (
        manifest.replace(f'"runs": {runs}', f'"runs": {runs + 1}'),
        "[" * 3000,
        "{}",
        "[1]",
        "9" * 5000,
        manifest[:-9],
        vouched_line({"top1": 0.8}),
    ):
        assert text != manifest
        (broken / "manifest.json").write_text(text)
        with pytest.raises(ValueError, match=r"manifest.json: damaged: not what was exported \(another digest\); unpack"):
            read_manifest(broken / "manifest.json")
    done = run_kit(broken)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_kit_refuses_wrong_options(kit: Path) -> None:
    done = run_kit(kit, "--threads", "0", "--out", "other.csv")
    assert (done.returncode, done.stderr) == (2, "run.py: error: --threads is 0; must be at least 1\n")


# -- its results -----------------------------------------------------------------------------------------------------------


def test_the_results_make_a_platform(results: Path, space_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "device.yaml"
    assert imported(results, space_file, out, "--power-w", "4", "--json") == 0
    platform, space = load_platform(out), load_space(space_file)
    assert (platform.name, platform.threads, platform.kind) == ("device", 1, "measured")
    assert platform.runtime.startswith("ONNX Runtime ")
    assert platform.table is not None
    assert {block.shape for block in platform.table.blocks} == set(ShapeGrid.of(space).distinct())
    assert platform.error.networks == 4
    assert platform.error.mape is not None
    assert platform.details["python"] == sys.version.split()[0]
    assert platform.energy is not None
    assert platform.energy.power_w == 4.0
    assert (platform.costs(space).latency_ms(space.sample(5, np.random.default_rng(0))) > 0).all()


def test_a_device_goes_on_where_it_stopped(kit: Path, results: Path, tmp_path: Path) -> None:
    lines = rounds_of_all(results)
    part = tmp_path / "part.csv"
    part.write_text("".join(lines[:20]) + lines[20][:10])
    done = run_kit(kit, "--threads", "1", "--out", str(part))
    assert done.returncode == 0, done.stderr
    assert "visits are done already; continuing" in done.stderr
    assert len(rounds_of_all(part)) == len(lines)
    assert part.read_text().splitlines(keepends=True)[:18] == lines[:18]
    done = run_kit(kit, "--threads", "2", "--out", str(part))
    assert done.returncode == 2
    assert f"{part}:1: threads is '1', now '2': begun with other settings" in done.stderr


def test_a_device_with_two_threads(kit: Path, tmp_path: Path) -> None:
    done = run_kit(kit, "--threads", "2", "--out", str(tmp_path / "two.csv"))
    assert done.returncode == 0, done.stderr
    assert settings_of(tmp_path / "two.csv")["threads"] == "2"


def changed(results: Path, folder: Path, line: int, old: str, new: str) -> Path:
    lines = of_0_1_0(results)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new)
    path = folder / "changed.csv"
    path.write_text("".join(lines))
    return path


def test_results_that_stop_early_are_refused(
    results: Path, space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, lines = tmp_path / "early.csv", rounds_of_all(results)
    last = lines[-1].split(",")[:2]
    whole = [line for line in lines if line.split(",")[:2] != last]
    for left, what in ((whole, f"has {VISITS - 1} of {VISITS} visits"), (lines[:-1], "its last visit is not whole")):
        path.write_text("".join(left))
        assert imported(path, space_file, tmp_path / "x.yaml") == 2
        error = capsys.readouterr().err
        assert f"{what}; run the same command again to continue" in error
        assert str(path) in error


def test_wrong_times_are_refused_with_line_and_key(
    results: Path, space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item, _, first = of_0_1_0(results)[6].split(",")[2:]
    first = first.split()[0]
    for new in ("-1", "nan"):
        path = changed(results, tmp_path, 7, f",{first}", f",{new}")
        assert imported(path, space_file, tmp_path / "x.yaml") == 2
        assert f"{path}:7: times_ms of {item}: {new} is not finite and above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"runs": 10', '"runs": 11', "plan is not "),
        ('"runs": 10', '"runs": 0', "kit.settings: runs is 0; must be at least 1"),
        ('"seed": 0', '"sead": 0', "kit.settings: unknown key 'sead'"),
        ('"kit":', '"tik":', "kit is None; expected its fingerprint, resolutions and settings"),
        ('"threads": "1"', '"threads": "many"', "threads is 'many'; expected the text that run.py wrote"),
        ('"processor":', '"prozessor":', "processor is None; expected the text that run.py wrote"),
    ],
)
def test_wrong_settings_are_refused(
    old: str, new: str, message: str, results: Path, space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(results, tmp_path, 1, old, new)
    assert imported(path, space_file, tmp_path / "x.yaml") == 2
    assert f"{path}:1: {message}" in capsys.readouterr().err


def test_results_of_another_space_are_refused(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(PROFILED.replace("classes: 3", "classes: 4").replace("name: tiny", "name: other"))
    assert imported(results, other, tmp_path / "x.yaml") == 2
    fingerprint = settings_of(results)["kit"]["fingerprint"]
    message = f"{results}:1: kit.fingerprint is {fingerprint!r}, of space tiny; other has {load_space(other).fingerprint!r}"
    assert message in capsys.readouterr().err


def test_a_kit_of_some_resolutions(space_file: Path, tmp_path: Path) -> None:
    """What is imported needs no --resolutions: the results say which."""
    space = load_space(space_file)
    plan = export_kit(tmp_path / "k.zip", space, [12], Settings(fit_networks=1, test_networks=2))
    with zipfile.ZipFile(tmp_path / "k.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
    facts = {"processor": "p", "runtime": "r", "threads": "1", "kit": manifest["kit"], "plan": plan.timing.digest}
    rows = [
        f"{chain},{turn},{item},0,{0.5 if item.startswith('b') else 0.1}\n"
        for chain, items in enumerate(plan.timing.chains)
        for turn in range(VISITS)
        for item in (REFERENCE, *items)
    ]
    path = tmp_path / "r.csv"
    path.write_text(f"# {json.dumps(facts)}\nchain,visit,item,preempted,times_ms\n{''.join(rows)}")
    assert imported(path, space_file, tmp_path / "d.yaml") == 0
    table = load_platform(tmp_path / "d.yaml").table
    assert table is not None
    assert table.fingerprint == space.restrict(resolutions=[12]).fingerprint
    assert len(read(path, plan.timing)[1]) == len(rows)


def test_results_of_0_1_0_are_read_as_they_are(results: Path, space_file: Path, tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("".join(of_0_1_0(results)))
    for name, path in (("new", results), ("old", tmp_path / "old.csv")):
        assert imported(path, space_file, tmp_path / f"{name}.yaml", "--name", "device") == 0
    assert load_platform(tmp_path / "old.yaml") == load_platform(tmp_path / "new.yaml")


@pytest.mark.parametrize("seed", range(60))
def test_no_changed_byte_of_results_is_believed(results: Path, space_file: Path, tmp_path: Path, seed: int) -> None:
    """In its settings, its titles, its times, its last line."""
    rng = np.random.default_rng(seed)
    content = bytearray(results.read_bytes())
    ends = [i for i, byte in enumerate(content) if byte == ord("\n")]
    begin, end = [(0, ends[0]), (ends[0], ends[1]), (ends[1], len(content)), (ends[-2], len(content))][seed % 4]
    content[rng.integers(begin, end)] ^= 1 << rng.integers(8)
    path = tmp_path / "changed.csv"
    path.write_bytes(content)
    assert imported(path, space_file, tmp_path / "x.yaml") == 2
    assert not (tmp_path / "x.yaml").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "settings",
            {"fit_networks": 2 * 10**9},
            "kit.settings: fit_networks is 2000000000; must be at least 1",
        ),
        ("settings", {"test_networks": 10**12}, "kit.settings: test_networks is 1000000000000; must be at least 1"),
        ("settings", {"batch": 10**9}, "kit.settings: batch is 1000000000; must be at least 1 and at most 65536"),
        ("settings", {"runs": 10**30}, "kit.settings: runs: expected a whole number of at most 64 bits"),
        ("resolutions", 8, "kit.resolutions is 8; expected a list of pixels"),
        ("fingerprint", "f" * 10**6, "kit.fingerprint is 'ffff"),
    ],
)
def test_results_that_plan_too_much_are_refused_before_anything_is_made(
    key: str,
    value: object,
    message: str,
    results: Path,
    space_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    head, *rows = of_0_1_0(results)
    settings = json.loads(head[2:])
    if isinstance(value, dict):
        settings["kit"][key] |= value
    else:
        settings["kit"][key] = value
    path = tmp_path / "bomb.csv"
    path.write_text(f"# {json.dumps(settings)}\n" + "".join(rows))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert imported(path, space_file, tmp_path / "x.yaml") == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error) < 500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200_000


@pytest.mark.export
def test_a_device_with_litert_alone(space_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")
    archive = tmp_path / "kit.zip"
    options = ["--space", str(space_file), "--runs", "10", "--networks", "6", "--runtime", "litert"]
    assert main(["profile", "--export", str(archive), *options]) == 0
    assert "pip install ai-edge-litert" in capsys.readouterr().out
    with zipfile.ZipFile(archive) as content:
        content.extractall(tmp_path / "device")
    assert "pip install ai-edge-litert" in (tmp_path / "device" / "README.md").read_text()
    done = run_kit(tmp_path / "device", "--threads", "2")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "threads is 2; LiteRT is measured on one thread" in done.stderr
    done = run_kit(tmp_path / "device", without="onnxruntime")
    assert done.returncode == 0, done.stderr
    assert imported(tmp_path / "device" / "results.csv", space_file, tmp_path / "d.yaml", "--json") == 0
    platform = load_platform(tmp_path / "d.yaml")
    assert platform.runtime.startswith("LiteRT ")
    assert platform.threads == 1


@pytest.mark.slow
def test_a_kit_runs_in_a_clean_environment(kit: Path, space_file: Path, tmp_path: Path) -> None:
    """A new virtual environment with onnxruntime from the package index, without torch."""
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "onnxruntime"], check=True)
    missing = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    assert missing.returncode != 0
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "run.py", "--threads", "2", "--out", str(tmp_path / "clean.csv")]
    done = subprocess.run(command, cwd=kit, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert imported(tmp_path / "clean.csv", space_file, tmp_path / "clean.yaml") == 0
