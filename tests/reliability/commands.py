"""The verbs that read and write files, as commands in a scene: what each reads, what it writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.reliability.scene import LOGGED, OPTUNA, PROFILE, QUERY, TRAIN, Scene, steady

FINETUNE = ("finetune", "q", "--run", "run", "--epochs", "1")
PARETO = ("pareto", "run", "--platform", "edge-int8", "--x", "macs_m", "--points", "3", "--samples", "20", "--images", "20")
TRANSFER = ("train", "--init", "run", "--data", "data.npz", "--epochs", "1", "--quiet", "--run")
FITTED = ("predictor", "run", "--samples", "26", "--kind", "ridge", "--images", "20")
CALIBRATE = ("calibrate", "--measurements", "timings.csv", "--unit", "ms", "--out")
ANEW = ("query", "run", "--platform", "edge-int8", "--macs-m", "0.2", "--images", "20", "--verify", "2")
IMPORT = ("import", "published/ofa_tiny", "--space", "published/tiny.yaml", "--run", "imported")
EXPORT = ("export", "q", "--run", "run", "--format", "onnx", "--precision", "fp32", "--precision", "int8", "--out")
LIFE = ("--platform", "edge-int8", "--inferences", "1e6")
ANY_RESULT = ("new-q/space.yaml",)
"""Of a search in a study: one that goes on after a kill draws other subnets."""
STORED = ("sqlite:///study.db", "journal://study.journal")


@dataclass(frozen=True)
class Command:
    """A command and the files or folders that it writes."""

    argv: tuple[str, ...]
    out: tuple[str, ...] = ()
    result: tuple[str, ...] | None = None
    """Of these, what is the same each time; all where None."""
    timed: bool = False
    """Its result is measured times, other ones each time."""

    def facts(self, scene: Scene, answer: Any = None) -> dict[str, Any]:
        """What it wrote and printed; of one that measures times, that it did."""
        names = self.out if self.result is None else self.result
        found = {name: (scene.here / name).exists() for name in names} if self.timed else scene.facts(*names)
        return found | {"answer": None if self.timed else steady(answer)}


def trained(run: str) -> tuple[str, ...]:
    """Files of a run that do not hold times, or hold them apart."""
    return tuple(f"{run}/{name}" for name in ("supernet.safetensors", "teacher.safetensors", "metrics.jsonl", "result.json"))


WRITERS = {
    "train": Command((*TRAIN, "new"), ("new",), trained("new")),
    "train resumed": Command((*TRAIN, "half"), ("half",), trained("half")),
    "train transferred": Command((*TRANSFER, "moved"), ("moved",), trained("moved")),
    "predictor": Command(FITTED, ("run/predictor",)),
    "query": Command((*QUERY, "--out", "new-q"), ("new-q", "run/predictor")),
    "query anew": Command((*ANEW, "--out", "q"), ("q", "run/predictor")),
    "query logged": Command(
        (*QUERY, "--out", "new-q", *LOGGED, "--seed", "3", "--history", "h2.jsonl"), ("new-q", "h2.jsonl")
    ),
    "query in sqlite": Command(
        (*QUERY, "--out", "new-q", *OPTUNA, "--seed", "3", "--storage", "sqlite:///s2.db"), ("new-q",), ANY_RESULT
    ),
    "query in a journal": Command(
        (*QUERY, "--out", "new-q", *OPTUNA, "--seed", "3", "--storage", "journal://s2.journal"), ("new-q",), ANY_RESULT
    ),
    "fleet": Command(
        ("query", "run", "--fleet", "fleet.csv", "--images", "20", "--out", "a.csv"), ("a.csv", "a-subnets.json")
    ),
    "finetune": Command((*FINETUNE, "--out", "tuned"), ("tuned",)),
    "finetune in place": Command((*FINETUNE, "--out", "q"), ("q",), ("q/space.yaml",)),  # again is further
    "pareto": Command((*PARETO, "--out", "f.png"), ("f.png", "f.csv", "run/predictor")),
    "extract": Command(("extract", "run", "--subnet", "arch.json", "--images", "20", "--out", "new-x"), ("new-x",)),
    "extract anew": Command(("extract", "run", "--subnet", "largest", "--images", "20", "--out", "q"), ("q",)),
    "profile": Command((*PROFILE, "--out", "new-p.yaml"), ("new-p.yaml",), timed=True),
    "profile resumed": Command((*PROFILE, "--out", "part.yaml"), ("part.yaml",), timed=True),
    "profile --export": Command(
        ("profile", "--space", "profiled.yaml", "--networks", "6", "--export", "new.zip"), ("new.zip",)
    ),
    "profile --import": Command(
        ("profile", "--space", "profiled.yaml", "--import", "results.csv", "--out", "new-i.yaml"), ("new-i.yaml",)
    ),
    "calibrate": Command((*CALIBRATE, "new-c.yaml"), ("new-c.yaml",)),
    "calibrate anew": Command((*CALIBRATE, "mine.yaml", "--batch", "2"), ("mine.yaml",)),
    "pack": Command(("pack", "run", "--out", "new.ofa"), ("new.ofa",)),
    "pack anew": Command(("pack", "run", "--validation", "20", "--out", "run.ofa"), ("run.ofa",)),
    "import": Command(IMPORT, ("imported",)),
    "export": Command((*EXPORT, "new-e"), ("new-e",)),
    "footprint": Command(("footprint", "run", *LIFE, "--plot", "l.png"), ("l.png",)),
    "benchmark": Command(("benchmark", "q", "--run", "run", "--format", "onnx", "--plot", "b.png"), ("b.png",), timed=True),
}
"""Commands that write, by name; the second of a pair replaces or goes on with something that is there."""

READERS = {
    "result": Command(("train", "tiny.yaml", "--run", "run", "--json"), ("run/result.json",)),
    "resume": Command(
        ("train", "tiny.yaml", "--run", "half", "--json"), ("half/supernet.safetensors", "half/metrics.jsonl")
    ),
    "evaluate": Command(("evaluate", "run", "--images", "20", "--json")),
    "evaluate q": Command(("evaluate", "run", "--subnet", "q", "--images", "20", "--json")),
    "evaluate file": Command(("evaluate", "run", "--subnet", "arch.json", "--images", "20", "--json")),
    "predictor": Command(
        ("predictor", "run", "--samples", "24", "--kind", "ridge", "--images", "20", "--json"),
        ("run/predictor/predictor.json",),
    ),
    "query": Command((*QUERY, "--verify", "2", "--out", "new-q", "--json"), ("new-q",)),
    "query history": Command((*QUERY, "--out", "new-q", *LOGGED, "--history", "h.jsonl", "--json"), ("new-q",)),
    "query sqlite": Command((*QUERY, "--out", "new-q", *OPTUNA, "--storage", STORED[0], "--json"), ("new-q",)),
    "query journal": Command((*QUERY, "--out", "new-q", *OPTUNA, "--storage", STORED[1], "--json"), ("new-q",)),
    "query mine": Command(
        ("query", "run", "--platform", "mine.yaml", "--latency-ms", "3", "--no-verify", "--out", "new-q", "--json"),
        ("new-q",),
    ),
    "fleet": Command(("query", "run", "--fleet", "fleet.csv", "--no-verify", "--out", "a.json", "--json"), ("a.json",)),
    "finetune": Command((*FINETUNE, "--out", "tuned", "--json"), ("tuned",)),
    "pareto": Command((*PARETO, "--overlay", "overlay.csv", "--no-verify", "--out", "f.png", "--json"), ("f.csv", "f.png")),
    "pareto history": Command(("pareto", "--history", "h.jsonl", "--out", "h.png", "--json"), ("h.png",)),
    "extract q": Command(("extract", "run", "--subnet", "q", "--images", "20", "--out", "new-x", "--json"), ("new-x",)),
    "transfer": Command((*TRANSFER, "moved", "--json"), ("moved/supernet.safetensors",)),
    "profile": Command((*PROFILE, "--out", "part.yaml", "--json"), ("part.yaml",), timed=True),
    "import": Command(
        ("profile", "--space", "profiled.yaml", "--import", "results.csv", "--out", "new-i.yaml", "--json"), ("new-i.yaml",)
    ),
    "calibrate": Command((*CALIBRATE, "new-c.yaml", "--json"), ("new-c.yaml",)),
    "platform": Command(("platforms", "measured.yaml", "--json")),
    "platform mine": Command(("platforms", "mine.yaml", "--json")),
    "kit": Command(("readers:run_kit", "kit", "r2.csv"), ("r2.csv",), timed=True),
    "query bundle": Command(("query", "run.ofa", *QUERY[2:], "--verify", "2", "--out", "new-q", "--json"), ("new-q",)),
    "import published": Command((*IMPORT, "--json"), ("imported/supernet.safetensors",)),
    "export": Command((*EXPORT, "new-e", "--json"), ("new-e",)),
    "check": Command(("data", "check", "photos", "--json")),
    "footprint": Command(("footprint", "run", *LIFE, "--subnet", "arch.json", "--json")),
    "footprint q": Command(("footprint", "q", "--run", "run", *LIFE, "--grid", "mine", "--grid-file", "grid.csv", "--json")),
}
"""Commands that read, by name."""

SLOW_READERS = (
    "export",
    "import published",
    "resume",
    "transfer",
    "profile",
    "kit",
    "predictor",
    "finetune",
    "calibrate",
    "import",
)
"""Readers that take more than a tenth of a second."""

READ_BY = {
    "run/recipe.yaml": ("result", "evaluate", "transfer"),
    "run/space.yaml": ("evaluate", "query", "predictor"),
    "run/data.json": ("evaluate", "finetune", "transfer"),
    "run/supernet.safetensors": ("evaluate", "query", "transfer", "finetune"),
    "run/result.json": ("result",),
    "run/predictor/*": ("query", "predictor", "fleet", "pareto"),
    "half/recipe.yaml": ("resume",),
    "half/space.yaml": ("resume",),
    "half/data.json": ("resume",),
    "half/metrics.jsonl": ("resume",),
    "half/teacher.safetensors": ("resume",),
    "half/checkpoint/*": ("resume",),
    "half/energy/*": ("resume",),
    "run/energy/result-0.json": ("footprint",),
    "grid.csv": ("footprint q",),
    "q/subnet.json": ("finetune", "evaluate q", "extract q", "footprint q"),
    "q/space.yaml": ("finetune",),
    "q/weights.safetensors": ("finetune", "export"),
    "run.ofa": ("query bundle",),
    "published/ofa_tiny": ("import published",),
    "published/tiny.yaml": ("import published",),
    "q/card.json": ("finetune", "footprint q"),
    "h.jsonl": ("query history", "pareto history"),
    "study.db": ("query sqlite",),
    "study.journal": ("query journal",),
    "mine.yaml": ("query mine", "platform mine"),
    "measured.yaml": ("platform",),
    "part.yaml.partial.csv": ("profile",),
    "results.csv": ("import",),
    "kit/manifest.json": ("kit",),
    "kit/models.zip": ("kit",),
    "data.npz": ("evaluate", "resume"),
    "timings.csv": ("calibrate",),
    "fleet.csv": ("fleet",),
    "overlay.csv": ("pareto",),
    "profiled.yaml": ("import",),
    "tiny.yaml": ("result",),
    "tiny-space.yaml": ("result", "calibrate"),
    "arch.json": ("evaluate file",),
    "photos/*/*/*": ("check",),
}
"""Files, as patterns, and the commands that read them."""

BY_HAND = (
    "timings.csv",
    "fleet.csv",
    "overlay.csv",
    "grid.csv",
    "profiled.yaml",
    "tiny.yaml",
    "published/",
    "tiny-space.yaml",
    "arch.json",
    "photos/",
)
"""Files that people write: another value in them is another question, as long as it makes sense."""


def files_of(scene: Scene, pattern: str) -> list[Path]:
    """The files of the scene that fit a pattern of `READ_BY`."""
    return sorted(path for path in scene.here.glob(pattern) if path.is_file())
