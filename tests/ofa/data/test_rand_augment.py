"""Random operations: each by hand where that is easy, and the promises of all."""

from __future__ import annotations

import pytest
import torch

from ofa import UserError
from ofa.data.augment.rand_augment import OPERATIONS, RandAugmentConfig, rand_augment
from ofa.files import schema


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(batch: int = 12, channels: int = 3) -> torch.Tensor:
    return (torch.rand(batch, channels, 11, 11, generator=rng(1)) * 256).floor()


def strength(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_operation_keeps_shape_and_range_and_is_nothing_at_strength_0(name: str, channels: int) -> None:
    images = photos(4, channels)
    varied = OPERATIONS[name](images, strength(1.0, -1.0, 0.9, -0.3))
    assert varied.shape == images.shape
    assert varied.min() >= 0
    assert varied.max() <= 255.01
    if name != "auto_contrast":  # it has no strength
        assert torch.allclose(OPERATIONS[name](images, strength(0, 0, 0, 0)), images, atol=1e-2)
    changes = not torch.equal(varied, images)
    assert changes == (name != "identity" and not (name == "saturation" and channels == 1))


def test_operations_by_hand() -> None:
    x = torch.tensor([[[[0.0, 100.0], [200.0, 255.0]]]])
    assert OPERATIONS["solarize"](x, strength(0.5)).flatten().tolist() == [0, 100, 55, 0]
    assert OPERATIONS["posterize"](x, strength(1.0)).flatten().tolist() == [0, 96, 192, 240]
    assert OPERATIONS["auto_contrast"](x / 2 + 20, strength(1.0)).flatten().tolist() == pytest.approx([0, 100, 200, 255])
    assert OPERATIONS["brightness"](x, strength(-1.0)).flatten().tolist() == pytest.approx([0, 10, 20, 25.5])
    ramp = torch.arange(20.0).expand(1, 1, 20, 20)
    moved = OPERATIONS["translate_x"](ramp, strength(1 / 9))  # of 9 pixels
    assert torch.allclose(moved[0, 0, 3, :18], ramp[0, 0, 3, :18] + 1, atol=1e-4)
    turned = OPERATIONS["rotate"](OPERATIONS["rotate"](ramp, strength(1.0)), strength(-1.0))
    assert torch.allclose(turned[0, 0, 8:12, 8:12], ramp[0, 0, 8:12, 8:12], atol=1e-3)


def test_the_same_generator_gives_the_same_images_and_each_image_its_own_operations() -> None:
    images = photos(64)
    config = RandAugmentConfig(operations=2, magnitude=7)
    one, other = rand_augment(images, config, rng(5)), rand_augment(images, config, rng(5))
    assert torch.equal(one, other)
    assert not torch.equal(one, rand_augment(images, config, rng(6)))
    assert torch.equal(images, photos(64))  # not in place
    same = images[:1].expand(64, -1, -1, -1)
    assert len(torch.unique(rand_augment(same, config, rng(7)), dim=0)) > 20


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"operations": 0}, "operations is 0; must be at least 1"),
        ({"magnitude": 11}, "magnitude is 11.0; must be at least 0 and at most 10"),
    ],
)
def test_mistakes_in_the_recipe_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        schema.build(RandAugmentConfig, values, "recipe")
