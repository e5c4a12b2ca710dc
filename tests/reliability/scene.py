"""A place with all that verbs read and write: a trained run, one stopped half-way, subnets, platforms, tables, images."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tests.published_toys import write_checkpoint
from tests.reliability.launcher import Launcher, Outcome
from tests.space_toys import PROFILED
from tests.tiny import write_recipe

SHORT = """\
evaluation: {images: 30, recalibration_images: 20, final_subnets: 1, batch_size: 30}
checkpoint_seconds: 0
phases:
  - {name: largest, epochs: 1, peak_lr: 0.1}
  - {name: all, epochs: 1, peak_lr: 0.05, include: [smallest], subnets_per_step: 2, opens: {everything: true}}
"""
"""The rest of the recipe: 20 steps, with a checkpoint after each."""
PROFILE = ("profile", "--space", "profiled.yaml", "--networks", "6", "--runs", "3", "--threads", "1")
QUERY = ("query", "run", "--platform", "edge-int8", "--macs-m", "0.05", "--images", "20")
OPTUNA = ("--algorithm", "optuna", "--budget", "12", "--sampler", "RandomSampler", "--no-verify")
LOGGED = ("--algorithm", "random", "--budget", "40", "--no-verify")
TRAIN = ("train", "tiny.yaml", "--quiet", "--run")
BUILD = (
    (*TRAIN, "run"),
    ("predictor", "run", "--samples", "24", "--kind", "ridge", "--images", "20"),
    (*QUERY, "--out", "q"),
    (*QUERY, "--out", "logged", *LOGGED, "--history", "h.jsonl"),
    (*QUERY, "--out", "logged", *OPTUNA, "--storage", "sqlite:///study.db"),
    (*QUERY, "--out", "logged", *OPTUNA, "--storage", "journal://study.journal"),
    ("calibrate", "--measurements", "timings.csv", "--unit", "ms", "--out", "mine.yaml"),
    (*PROFILE, "--out", "measured.yaml"),
    ("profile", "--space", "profiled.yaml", "--networks", "6", "--runs", "3", "--export", "kit.zip"),
    ("readers:unpack", "kit.zip", "kit"),
    ("readers:run_kit", "kit", "results.csv"),
    ("pack", "run", "--out", "run.ofa"),
)
"""How the scene is made, in this order."""
CHANGING_KEYS = re.compile(r"second|_s$|energy|date|spent|timed|per_s|missing|measured_now|sha256")
"""Keys of figures that differ from one run of a command to the next: times, what was drawn meanwhile, their digests."""
LITTER = re.compile(r"\.tmp$|\.new$|\.old$|\.lock$|\.partial\.csv$")


@dataclass(frozen=True)
class Scene:
    """The folder `scene`, and how to have it again as it was."""

    place: Path
    launcher: Launcher

    @classmethod
    def build(cls, place: Path, launcher: Launcher) -> Scene:
        """Train, query, measure, and keep a copy of it all."""
        scene = cls(place, launcher)
        scene.here.mkdir(parents=True)
        _write_inputs(scene.here)
        calls = {argv[:-1]: scene.calls(argv) for argv in BUILD}
        subnet = json.loads((scene.here / "q" / "subnet.json").read_text())["subnet"]
        (scene.here / "arch.json").write_text(json.dumps(subnet, indent=1))
        for argv in ((*TRAIN, "half"), (*PROFILE, "--out", "part.yaml")):  # both are killed after most of their work
            assert scene.run(argv, {"at_call": int(0.6 * calls[argv[:-1]])}).code == -9
        shutil.copytree(scene.here, scene.template, symlinks=True)
        return scene

    @property
    def here(self) -> Path:
        """The folder that commands run in; always the same, since runs know where their data are."""
        return self.place / "scene"

    @property
    def template(self) -> Path:
        """The copy."""
        return self.place / "template"

    def fresh(self) -> None:
        """Have everything as it was built."""
        if self.here.is_mount():
            for entry in self.here.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        else:
            shutil.rmtree(self.here)
        shutil.copytree(self.template, self.here, symlinks=True, dirs_exist_ok=True)

    def run(self, argv: tuple[str, ...], fault: dict[str, Any] | None = None) -> Outcome:
        """Run a command here."""
        return self.launcher.run(list(argv), self.here, fault)

    def must(self, argv: tuple[str, ...]) -> Outcome:
        """Run a command that has to succeed."""
        outcome = self.run(argv)
        assert outcome.code == 0, (argv, outcome)
        return outcome

    def calls(self, argv: tuple[str, ...]) -> int:
        """How many calls that change files a command makes."""
        count = self.place / "calls"
        count.unlink(missing_ok=True)
        outcome = self.run(argv, {"count": str(count)})
        assert outcome.code == 0, (argv, outcome)
        return int(count.read_text())

    def litter(self) -> list[str]:
        """What only a command that is at work should have here."""
        return sorted(str(path.relative_to(self.here)) for path in self.here.rglob("*") if LITTER.search(path.name))

    def stray_checkpoints(self) -> set[str]:
        """Checkpoints in the scene as it was built that no `latest.json` names."""
        found = set()
        for latest in self.template.rglob("latest.json"):
            named = Path(json.loads(latest.read_text())["file"]).name
            found |= {path for path in latest.parent.glob("*.safetensors") if path.name != named}
        return {str(path.relative_to(self.template)) for path in found}

    def facts(self, *names: str) -> dict[str, Any]:
        """What files and folders say, without the times they hold."""
        found: dict[str, Any] = {}
        for name in names:
            root = self.here / name
            for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
                if path.is_file() and not LITTER.search(path.name):
                    found[str(path.relative_to(self.here))] = _content(path)
        return found


def steady(value: Any) -> Any:
    """A document without figures that differ each time."""
    if isinstance(value, dict):
        return {key: steady(entry) for key, entry in value.items() if not CHANGING_KEYS.search(str(key))}
    return [steady(entry) for entry in value] if isinstance(value, list) else value


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return steady(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [steady(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".yaml":
        return steady(yaml.safe_load(path.read_text()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_inputs(folder: Path) -> None:
    """What a user has."""
    from ofa.space.search_space import load_space

    recipe = write_recipe(folder)
    recipe.write_text(recipe.read_text().partition("evaluation:")[0] + SHORT)
    (folder / "profiled.yaml").write_text(PROFILED)
    (folder / "published").mkdir()
    write_checkpoint(folder / "published")
    rng = np.random.default_rng(0)
    space = load_space(folder / "tiny-space.yaml")
    rows = ["space,architecture,resolution,latency_ms"]
    for i, subnet in enumerate(space.decode(space.sample(8, rng))):
        text = json.dumps(subnet.to_dict()).replace('"', '""')
        rows.append(f'tiny-space.yaml,"{text}",{subnet.resolution},{1 + 0.3 * i}')
    (folder / "timings.csv").write_text("\n".join(rows) + "\n")
    fleet = "platform,device,macs_m,confidence\nedge-int8,a,0.05,\nedge-int8,b,,0.9\nnote10,c,0.1,\n"
    (folder / "fleet.csv").write_text(fleet)
    (folder / "grid.csv").write_text("region,year,g_per_kwh,source\nmine,2024,120,own meter\n")
    (folder / "overlay.csv").write_text("name,top1,macs_m\none,0.7,0.1\ntwo,0.8,0.2\n")
    for name in ("cat", "dog"):
        for part, count in (("train", 4), ("val", 2)):
            (folder / "photos" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / part / name / f"{i}.{'jpg' if i % 2 else 'png'}")
