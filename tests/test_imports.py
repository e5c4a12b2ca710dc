"""Which package may import which, what stays free of torch, and what nobody may call."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ofa", "latency_tables", "search")  # each may import itself and those to its left
COMPOSITION_ROOT = ROOT / "ofa" / "cli"
TORCH_FREE = (
    "ofa",
    "ofa.data.sources.read_source",
    "ofa.footprint",
    "ofa.footprint.tables",
    "ofa.data.stored_images",
    "ofa.distributed.world",
    "ofa.files.csv_table",
    "ofa.errors",
    "ofa.data.sources.fashion_mnist",
    "ofa.files.atomic",
    "ofa.files.bundle",
    "ofa.files.shipped",
    "ofa.runs.run_files",
    "ofa.runs.stored_statistics",
    "ofa.files.schema",
    "ofa.numerics.stated",
    "ofa.space.shapes",
    "ofa.space.search_space",
    "ofa.space.subnet",
    "ofa.space.subspace",
)


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and absolute module of every import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield node.lineno, str(node.module)
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def violations(package: str, source: str) -> list[str]:
    """Imports in a source of `package` that point to its right."""
    forbidden = (*PACKAGES[PACKAGES.index(package) + 1 :], "ofa.cli", "tests", "benchmarks")
    found = imported(ast.parse(source))
    return [f"{line}: {name}" for line, name in found if f"{name}.".startswith(tuple(f"{module}." for module in forbidden))]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_to_their_left(package: str) -> None:
    paths = [path for path in sources(package) if not path.is_relative_to(COMPOSITION_ROOT) and path.stem != "__main__"]
    assert paths
    assert not [f"{path.relative_to(ROOT)}:{found}" for path in paths for found in violations(package, path.read_text())]


@pytest.mark.parametrize(
    ("package", "source", "allowed"),
    [
        ("ofa", "def f():\n    import search.plots.front", False),
        ("ofa", "from latency_tables import Platform", False),
        ("latency_tables", "import ofa, search as s", False),
        ("latency_tables", "from ofa import cli", False),
        ("search", "from ofa.cli.main import main", False),
        ("search", "from latency_tables.costs.costs import Costs\nimport ofa.space.search_space, searching", True),
        ("latency_tables", "from ofa.space.search_space import load_space", True),
    ],
)
def test_the_check_sees_what_it_should(package: str, source: str, allowed: bool) -> None:
    assert (not violations(package, source)) is allowed


FLOORS = {
    "ofa": (
        *(
            "errors",
            "progress_bar",
            "files",
            "footprint",
            "distributed",
            "energy",
            "space",
            "data",
            "nets",
            "official",
            "numerics",
        ),
        *("measure", "runs", "deploy", "subnet_directory", "training", "cli"),
    ),
    "latency_tables": (
        *("arrays", "units", "on_device", "blocks", "cost_models", "metrics", "costs", "platform", "published", "catalogue"),
        *("calibration", "profiling"),
    ),
    "search": (
        *("arrays", "statistics", "rows", "pareto", "predictors", "problem", "evaluations", "exact", "searchers"),
        *("fronts", "measurements", "fleet", "plots", "reports", "page"),
    ),
}
"""The folders and files of each package from the ground up: each imports only those before it, and itself."""
FACES = ("__init__", "__main__")


def edges(package: str) -> dict[str, set[str]]:
    """What each module of a package imports of the same package, late and typing imports counted; faces left out."""
    modules = {module_name(path): path for path in sources(package) if path.stem not in FACES}
    found = {}
    for name, path in modules.items():
        found[name] = {other for _, other in imported(ast.parse(path.read_text())) if other in modules and other != name}
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Nodes of one circle, in order; empty where there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        found = next((way for other in sorted(graph.get(node, ())) if (way := visit(other, [*path, node]))), [])
        done.add(node)
        return found

    return next((way for node in sorted(graph) if (way := visit(node, []))), [])


def test_circles_are_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_files_import_each_other(package: str) -> None:
    assert not circle(edges(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_imports_a_higher_one(package: str) -> None:
    floors = FLOORS[package]
    climbs = []
    for name, others in edges(package).items():
        room = name.split(".")[1]
        climbs += [f"{name} imports {other}" for other in others if floors.index(other.split(".")[1]) > floors.index(room)]
    assert not climbs, "\n".join(sorted(climbs))


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_within_folders_have_no_circle(package: str) -> None:
    graph: dict[str, set[str]] = {}
    for name, others in edges(package).items():
        folder = name.rpartition(".")[0]
        graph.setdefault(folder, set()).update({other.rpartition(".")[0] for other in others} - {folder})
    graph.pop(package, None)  # the files of a package's root have floors of their own
    assert not circle({folder: others - {package} for folder, others in graph.items()})


def test_no_folder_is_a_drawer() -> None:
    counts: dict[Path, int] = {}
    for path in (path for package in PACKAGES for path in sources(package)):
        counts[path.parent] = counts.get(path.parent, 0) + (path.stem not in FACES)
    verbs = ROOT / "ofa" / "cli" / "verbs"
    assert not {str(folder): count for folder, count in counts.items() if count > 12 and folder != verbs}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_face_has_what_it_says(package: str) -> None:
    face = importlib.import_module(package)
    assert set(face.__all__) == set(face._HOMES)
    assert all(hasattr(face, name) for name in face.__all__)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        face.nothing  # noqa: B018


def test_what_plans_and_searches_does_not_import_torch() -> None:
    modules = [*TORCH_FREE, *(module_name(path) for package in PACKAGES[1:] for path in sources(package))]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: print(name); break\n"
    )
    assert run_python(code) == ""


def test_verbs_import_nothing_heavy_before_they_run() -> None:
    modules = [module_name(path) for path in sources("ofa/cli")]
    heavy = ["torch", "numpy", "scipy", "optuna", "matplotlib", "yaml"]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"    found = [heavy for heavy in {heavy!r} if heavy in sys.modules]\n"
        "    if found: print(name, found); break\n"
    )
    assert run_python(code) == ""


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_unpickled_and_no_global_generator_is_seeded(package: str) -> None:
    banned = {"torch.manual_seed", "np.random.seed", "random.seed", "yaml.load", "eval", "exec", "input"}
    wrong = []
    for path in sources(package):
        tree = ast.parse(path.read_text())
        place = path.relative_to(ROOT)
        wrong += [f"{place}:{line}: imports {name}" for line, name in imported(tree) if name == "torchvision"]
        for call, name in calls(tree):
            options = {option.arg: ast.unparse(option.value) for option in call.keywords}
            if name in banned or name.startswith(("pickle.", "marshal.", "joblib.")):
                wrong.append(f"{place}:{call.lineno}: {name}")
            if name == "torch.load" and options.get("weights_only") != "True":
                wrong.append(f"{place}:{call.lineno}: torch.load without weights_only=True")
            if options.get("allow_pickle") == "True":
                wrong.append(f"{place}:{call.lineno}: allow_pickle=True")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_only_network_access_is_ofa_data(package: str) -> None:
    network = ("urllib", "http", "socket", "requests", "torch.hub")
    found = {
        str(path.relative_to(ROOT))
        for path in sources(package)
        for _, name in imported(ast.parse(path.read_text()))
        if any(name == module or name.startswith(f"{module}.") for module in network)
    }
    assert found <= {"ofa/data/sources/download.py"}
