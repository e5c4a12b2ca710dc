"""A run knows its data: other images under the same name are noticed by every verb, and a run works wherever it is moved."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from ofa.cli.main import main
from ofa.data.config import DataConfig
from ofa.data.held_out import held_out
from ofa.data.sources.read_source import Files, read_source
from ofa.errors import UserError
from ofa.runs.run_directory import RunDirectory
from tests.tiny import write_recipe
from tests.verbs import error

COLOURS = {"blue": (40, 60, 200), "green": (40, 200, 60), "red": (200, 40, 60)}


def photos(folder: Path, count: int = 24, ending: str = "png") -> Path:
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / "train" / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.clip(np.array(colour) + rng.integers(-30, 30, (12, 12, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "train" / name / f"{i}.{ending}")
    return folder


def split(folder: Path, **options: object) -> tuple[set[str], set[str]]:
    """Names of the files of training and validation."""
    parts = held_out(read_source(str(folder), Path()), DataConfig(source=str(folder), **options))  # type: ignore[arg-type]
    train, validation = parts["train"], parts["validation"]
    assert isinstance(train, Files)
    assert isinstance(validation, Files)
    return set(train.names()), set(validation.names())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, a run trained on them by a relative path, its predictor and a queried subnet."""
    folder = tmp_path_factory.mktemp("identity")
    photos(folder / "photos")
    recipe = yaml.safe_load(write_recipe(folder).read_text())
    recipe |= {"data": {"source": "photos", "workers": 0}, "phases": recipe["phases"][:1], "batch_size": 10}
    recipe["evaluation"] |= {"images": 7, "final_subnets": 0}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    space = yaml.safe_load((folder / "tiny-space.yaml").read_text()) | {"in_channels": 3}
    (folder / "tiny-space.yaml").write_text(yaml.safe_dump(space))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "recipe.yaml", "--run", "run", "--quiet", "--json"]) == 0
        assert main(["predictor", "run", "--samples", "12", "--json"]) == 0
        assert main(["query", "run", "--platform", "edge-int8", "--latency-ms", "1000", "--out", "best", "--json"]) == 0
    return folder


@pytest.fixture
def run(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The run; what a test does to its folder is undone."""
    backup = trained.with_name(f"{trained.name}-backup")
    shutil.copytree(trained, backup, dirs_exist_ok=True)
    monkeypatch.chdir(trained)
    yield trained / "run"
    monkeypatch.undo()
    shutil.rmtree(trained)
    os.rename(backup, trained)


@pytest.mark.parametrize("wanted", [0.2, 12, 5, None])
@pytest.mark.parametrize("seed", [0, 1])
def test_added_images_move_none_from_training_to_validation(tmp_path: Path, wanted: float | int | None, seed: int) -> None:
    folder = photos(tmp_path / "photos", count=40)
    trained, held = split(folder, validation=wanted, split_seed=seed)
    if isinstance(wanted, int):
        assert len(held) == wanted
    assert {name.split("/")[0] for name in held} == set(COLOURS)
    for i in range(60):
        name = sorted(COLOURS)[i % 2]  # the classes grow unequally
        shutil.copy(folder / "train" / "red" / "0.png", folder / "train" / name / f"new{i}.png")
    now_trained, now_held = split(folder, validation=wanted, split_seed=seed)
    assert not trained & now_held
    assert (trained | held) < (now_trained | now_held)


def test_the_split_depends_on_its_seed_and_not_on_where_the_folder_lies(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos")
    before = split(folder)
    assert split(folder, split_seed=1) != before
    os.rename(folder, tmp_path / "moved")
    assert split(tmp_path / "moved") == before


def add(folder: Path) -> None:
    shutil.copy(folder / "train" / "red" / "0.png", folder / "train" / "red" / "00new.png")


def remove(folder: Path) -> None:
    (folder / "train" / "red" / "3.png").unlink()


def rename_class(folder: Path) -> None:
    os.rename(folder / "train" / "blue", folder / "train" / "zblue")


def swap(folder: Path) -> None:
    """An image changes its class; the counts stay."""
    for one, other in (("red", "green"), ("green", "red")):
        os.rename(folder / "train" / one / "1.png", folder / "train" / other / "1-moved.png")


def invert(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


CHANGES: dict[Callable[[Path], None], str] = {
    add: "had",
    remove: "had",
    rename_class: "its classes were blue, green, red; now they are green, red, zblue",
    swap: "had|other names",
    invert: "the images of train have other names, sizes or content than then",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_other_images_under_the_same_name_are_noticed_by_every_verb(
    run: Path, change: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    change(Path("photos"))
    for words in (
        ["evaluate", "run"],
        ["predictor", "run", "--samples", "14"],
        ["query", "run", "--platform", "edge-int8", "--latency-ms", "1000", "--verify", "2", "--seed", "3"],
        ["pareto", "run", "--platform", "edge-int8", "--out", "front.png"],
        ["finetune", "best", "--run", "run", "--epochs", "1", "--out", "better"],
    ):
        capsys.readouterr()
        assert main(words) == 2, words
        text = capsys.readouterr().err.splitlines()[-1]
        assert re.search(rf"photos: not what run was trained on: .*({CHANGES[change]})", text), text


def test_a_training_that_goes_on_notices_too(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "supernet.safetensors").unlink()  # as if it had been stopped before its end
    rename_class(Path("photos"))
    text = error(capsys, "train", "recipe.yaml", "--run", "run", "--quiet")
    assert "now they are green, red, zblue; restore the images, or train a new run" in text


def test_bmp_of_the_same_size_are_told_apart_by_content(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", ending="bmp")
    from ofa.data.batches import load_data

    before = load_data(DataConfig(source=str(folder), workers=0)).record
    for path in folder.rglob("*.bmp"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    after = load_data(DataConfig(source=str(folder), workers=0)).record
    assert before.difference(before) is None
    assert before.difference(after) == "the images of train have other names, sizes or content than then"


def test_arrays_are_told_apart_by_every_pixel(tmp_path: Path) -> None:
    from ofa.data.batches import load_data

    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    labels = np.arange(40) % 2
    records = []
    for change in (0, 1):
        images[17, 3, 3] ^= change
        np.savez(tmp_path / "set.npz", images=images, labels=labels)
        records.append(load_data(DataConfig(source=str(tmp_path / "set.npz"))).record)
    assert records[0].difference(records[1]) == "the images of train have other names, sizes or content than then"


def test_a_run_works_from_any_directory_and_after_it_is_moved(
    run: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "run", "--json"]) == 0
    here = json.loads(capsys.readouterr().out)
    (trained / "elsewhere").mkdir()
    shutil.move(str(run), trained / "elsewhere" / "moved")
    monkeypatch.chdir(trained / "elsewhere")
    assert main(["evaluate", "moved", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["subnets"] == here["subnets"]
    os.rename(trained / "photos", trained / "elsewhere" / "photos")  # and the images with it
    assert main(["evaluate", "moved", "--json"]) == 0


def test_what_is_written_down(run: Path) -> None:
    record = json.loads((run / "data.json").read_text())
    assert record["classes"] == ["blue", "green", "red"]
    assert sum(record["images"]["train"].values()) + sum(record["images"]["validation"].values()) == 72
    assert record["census"] == "train: 72 images of 3 classes (24, 24, 24)"
    assert record["found_at"] == str(run.parent / "photos")
    assert len(record["mean"]) == len(record["std"]) == 3


def test_a_run_of_a_version_before_keeps_its_split(run: Path) -> None:
    """Such a recipe has no `split_by`; its images were ordered by their place in the list."""
    assert RunDirectory.open(run).recipe.data.split_by == "name"
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    for key in ("split_by", "exif_orientation", "background"):
        del recipe["data"][key]
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (run / "data.json").unlink()
    old = RunDirectory.open(run)
    assert (old.recipe.data.split_by, old.recipe.data.exif_orientation) == ("order", False)
    assert old.data().sizes["validation"] == 7
    assert main(["train", "recipe.yaml", "--run", "run", "--quiet", "--json"]) == 0  # the same recipe goes on with it


def test_a_damaged_record_is_one_line(run: Path) -> None:
    (run / "data.json").write_text('{"classes": 3}')
    with pytest.raises(UserError, match=r"data.json"):
        RunDirectory.open(run).data()


def test_training_says_at_its_start_what_it_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "supernet.safetensors").unlink()
    (run / "result.json").unlink(missing_ok=True)
    (Path("photos") / "train" / "red" / "clip.mp4").write_text("film")
    assert main(["train", "recipe.yaml", "--run", "run", "--quiet"]) == 0
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith(f"{run.parent / 'photos'}: train 5")
    assert line.endswith("; in its folders train: 72 images of 3 classes (24, 24, 24); 1 files left out: 1 .mp4")
