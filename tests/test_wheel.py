"""The wheel holds everything, and works from another directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ofa", "latency_tables", "search")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because a build leaves its folders beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "sources"
    copy.mkdir()
    for name in (*PACKAGES, "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-index"]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", *options, "-w", str(folder), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def target(wheel: Path) -> Path:
    """The wheel's content where nothing else is. A pure wheel is a zip of what `pip install --target` puts there."""
    folder = wheel.parent / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def python(target: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, *words], cwd=target.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_every_module_and_every_shipped_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    modules = {str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    configs = {f"ofa/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    tables = {str(path.relative_to(ROOT)) for path in (ROOT / "latency_tables").rglob("*.yaml")}
    assert {"ofa/configs/demo.yaml", "ofa/configs/spaces/mbv3-w1.2.yaml"} <= configs
    assert tables
    bundles = {str(path.relative_to(ROOT)) for path in (ROOT / "ofa" / "bundles").glob("*.ofa")}
    figures = {str(path.relative_to(ROOT)) for path in (ROOT / "ofa" / "footprint" / "data").iterdir()}
    assert {"ofa/footprint/data/grid.csv", "ofa/footprint/data/SOURCES.md"} <= figures
    assert modules | configs | tables | bundles | figures | {"ofa/py.typed", "ofa/bundles/README.md"} <= held
    assert any(name.endswith("LICENSE") for name in held)
    assert not any(name.startswith(("tests", "benchmarks")) for name in held)


def test_spaces_recipes_and_platforms_are_found_from_another_directory(target: Path) -> None:
    code = (
        "import ofa, search, latency_tables\n"
        "from ofa import load_space\n"
        "from ofa.files import shipped\n"
        "from ofa.runs.recipe import load_recipe\n"
        "from latency_tables import load_platform, platform_names\n"
        "print(ofa.__file__)\n"
        "print(*shipped.names('spaces'))\n"
        "print(load_space('mbv3-w1.2').name, load_space('configs/spaces/fmnist.yaml').name)\n"
        "print(load_recipe('configs/demo.yaml')[0].data.source, load_recipe('demo')[0].data.source)\n"
        "print(len([load_platform(name) for name in platform_names()]) == len(platform_names()) > 0)\n"
    )
    file, spaces, names, sources, platforms = python(target, "-W", "error", "-c", code).splitlines()
    assert Path(file).is_relative_to(target)
    assert {"fmnist", "mbv3-w1.0", "mbv3-w1.2", "proxyless-w1.3", "resnet50"} <= set(spaces.split())
    assert names == "mbv3-w1.2 fmnist"
    assert sources == "fashion-mnist fashion-mnist"
    assert platforms == "True"


def test_the_command_works_and_is_declared(wheel: Path, target: Path) -> None:
    (entry_points,) = target.glob("*.dist-info/entry_points.txt")
    assert "ofa = ofa.cli.main:main" in entry_points.read_text()
    assert "ofa VERB" in python(target, "-m", "ofa.cli.main", "--help")
    assert '"platforms"' in python(target, "-m", "ofa.cli.main", "platforms", "--json")
    assert '"zoo"' in python(target, "-m", "ofa.cli.main", "zoo", "--json")
