"""docs/data.md says what is so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from ofa.data.augment.augmentation import AugmentConfig
from ofa.data.batches import load_data
from ofa.data.config import DataConfig
from ofa.files import shipped
from ofa.runs.recipe import load_recipe

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "data.md").read_text()


def test_the_recipe_in_the_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = (shipped.config_root() / "spaces" / "fmnist.yaml").read_text()
    (tmp_path / "my-space.yaml").write_text(
        space.replace("in_channels: 1", "in_channels: 3").replace("classes: 10", "classes: 2")
    )
    (tmp_path / "my-recipe.yaml").write_text(GUIDE.partition("```yaml\n")[2].partition("```")[0])
    for name, colour in {"cat": (200, 90, 30), "dog": (10, 120, 250)}.items():
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (40 + i, 32), colour).save(tmp_path / "photos" / "train" / name / f"{i}.jpg")
    monkeypatch.chdir(tmp_path)
    recipe, space_read = load_recipe("my-recipe.yaml")
    assert (space_read.in_channels, space_read.classes) == (3, 2)
    data = load_data(dataclasses.replace(recipe.data, workers=0), channels=space_read.in_channels)
    assert data.classes == ("cat", "dog")
    images, _ = next(data.batches("train", batch_size=4, resolution=28, shuffle=True, augment=True))
    assert images.shape == (4, 3, 28, 28)


def test_every_option_is_in_the_guide() -> None:
    fields = {field.name for config in (DataConfig, AugmentConfig) for field in dataclasses.fields(config)} - {"augment"}
    assert not {name for name in fields if f"`{name}`" not in GUIDE and f"`augment.{name}`" not in GUIDE}
