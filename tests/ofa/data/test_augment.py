from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ofa.data.augment import augmentation
from ofa.data.augment.augmentation import AugmentConfig
from ofa.data.augment.luma import LUMA
from ofa.errors import UserError
from ofa.files import schema


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(batch: int = 16, height: int = 9, width: int = 7, channels: int = 3) -> torch.Tensor:
    return torch.randint(1, 256, (batch, height, width, channels), dtype=torch.uint8, generator=rng(9))


@pytest.mark.parametrize(("size", "resolution"), [(28, 28), (28, 20), (28, 16), (28, 41), (33, 7), (5, 224)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resize_equals_pytorchs_antialiased_bilinear(size: int, resolution: int, channels: int) -> None:
    images = torch.rand(4, channels, size, size + 3, generator=rng()) * 255
    expected = F.interpolate(images, (resolution, resolution), mode="bilinear", antialias=True)
    assert torch.allclose(augmentation.resize(images, resolution), expected, atol=2e-3)


def test_a_crop_of_the_whole_image_is_a_resize_and_a_negative_length_mirrors() -> None:
    row = torch.rand(1, 12, generator=rng())
    start, length = torch.zeros(1, dtype=torch.float64), torch.tensor([12.0], dtype=torch.float64)
    forward = augmentation.resampling(start, length, 12, 8)[0]
    backward = augmentation.resampling(start + 12, -length, 12, 8)[0]
    assert torch.allclose(backward @ row[0], (forward @ row[0]).flip(0), atol=1e-6)
    assert torch.allclose(forward.sum(dim=1), torch.ones(8))
    part = augmentation.resampling(start + 3, length - 6, 12, 6)[0]  # pixels 3 to 9, as they are
    assert torch.allclose(part @ row[0], row[0, 3:9])


def test_shift_is_a_window_of_the_padded_image_and_all_shifts_occur() -> None:
    config = AugmentConfig(crop_padding=2)
    images = photos(400, 6, 6, 1)
    shifted = augmentation.shift_and_flip(images, 6, config, rng())
    padded = F.pad(images, (0, 0, 2, 2, 2, 2)).permute(0, 3, 1, 2)
    offsets = []
    for image, source in zip(shifted, padded, strict=True):
        fits = [(y, x) for y in range(5) for x in range(5) if torch.equal(image, source[:, y : y + 6, x : x + 6])]
        assert len(fits) == 1
        offsets += fits
    assert len(set(offsets)) == 25


def test_flip_mirrors_about_half_and_keeps_the_rest() -> None:
    images = photos(400, 5, 5)
    out = augmentation.shift_and_flip(images, 5, AugmentConfig(horizontal_flip=True), rng())
    straight = images.permute(0, 3, 1, 2)
    same = (out == straight).flatten(1).all(1)
    mirrored = (out == straight.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < int(mirrored.sum()) < 250


def test_images_that_are_not_square_give_central_squares() -> None:
    images = photos(2, 9, 5)
    out = augmentation.shift_and_flip(images, 5, AugmentConfig(), rng())
    assert torch.equal(out, images[:, 2:7].permute(0, 3, 1, 2))


def test_random_resized_crop_stays_inside_and_covers_the_area_asked_for() -> None:
    lefts, tops, widths, heights = augmentation.crop_boxes(2000, 20, 40, (0.25, 0.5), rng())
    assert float(lefts.min()) >= 0
    assert float((lefts + widths).max()) <= 40
    assert float(tops.min()) >= 0
    assert float((tops + heights).max()) <= 20
    areas = widths * heights / 800
    assert float(areas.max()) <= 0.5 + 1e-9
    assert 0.3 < float(areas.mean()) < 0.45
    flat = torch.full((8, 3, 20, 40), 77.0)
    out = augmentation.random_resized_crop(flat, 12, (0.1, 1.0), True, rng())
    assert out.shape == (8, 3, 12, 12)
    assert torch.allclose(out, torch.tensor(77.0), atol=1e-3)


def test_random_resized_crop_of_a_ramp_shows_its_box_and_flips_some() -> None:
    ramp = torch.arange(32.0).expand(200, 1, 32, 32).contiguous()
    out = augmentation.random_resized_crop(ramp, 16, (0.2, 0.4), True, rng())
    rising = out[:, 0, 0, -1] > out[:, 0, 0, 0]
    assert 60 < int(rising.sum()) < 140
    spans = (out[:, 0, 0, -1] - out[:, 0, 0, 0]).abs()
    assert float(spans.max()) < 32 * (0.4 * 4 / 3) ** 0.5  # the widest box the area and aspect allow
    assert torch.allclose(out[:, :, 0], out[:, :, -1], atol=1e-3)  # nothing changes vertically


def test_jitter_is_within_its_range_and_clipped() -> None:
    images = torch.full((500, 3, 4, 4), 100.0)
    out = augmentation.jitter(images, AugmentConfig(brightness=0.2), rng())
    factors = out[:, 0, 0, 0] / 100
    assert 0.8 <= float(factors.min()) < 0.82
    assert 1.18 < float(factors.max()) <= 1.2
    assert float(augmentation.jitter(images * 2.5, AugmentConfig(brightness=0.5), rng()).max()) == 255
    assert torch.allclose(augmentation.jitter(images, AugmentConfig(contrast=0.5, saturation=0.5), rng()), images, atol=1e-3)
    assert torch.equal(augmentation.jitter(images, AugmentConfig(), rng()), images)


def test_saturation_keeps_the_grey_and_moves_the_colour() -> None:
    images = torch.tensor([200.0, 100.0, 50.0]).view(1, 3, 1, 1).expand(50, 3, 2, 2)
    out = augmentation.jitter(images, AugmentConfig(saturation=0.4), rng())
    weights = torch.tensor(LUMA).view(1, 3, 1, 1)
    assert torch.allclose((out * weights).sum(1), (images * weights).sum(1), atol=1e-2)
    assert float((out - images).abs().max()) > 5


def test_erase_fills_rectangles_of_the_area_asked_for() -> None:
    images = torch.ones(400, 2, 20, 20)
    out = augmentation.erase(images, AugmentConfig(erase_probability=0.5, erase_area=(0.1, 0.2)), rng())
    erased = (out == 0).float().mean(dim=(1, 2, 3))
    hit = erased > 0
    assert 150 < int(hit.sum()) < 250
    assert float(erased[hit].min()) > 0.06
    assert float(erased.max()) < 0.25
    assert torch.equal(out[:, 0], out[:, 1])
    first = (out[hit][0, 0] == 0).nonzero()
    height, width = (first.max(0).values - first.min(0).values + 1).tolist()
    assert len(first) == height * width
    assert torch.equal(augmentation.erase(images, AugmentConfig(), rng()), images)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop_padding": -1}, "crop_padding is -1; must be at least 0"),
        ({"random_resized_crop": [0.0, 1.0]}, r"random_resized_crop is \[0.0, 1.0\]; expected \[low, high\]"),
        ({"random_resized_crop": [0.5]}, "random_resized_crop is"),
        ({"random_resized_crop": [0.5, 1.0], "crop_padding": 2}, "give one of them"),
        ({"erase_area": [0.5, 0.4]}, "erase_area is"),
        ({"brightness": 1.5}, "brightness is 1.5; must be at least 0 and at most 1"),
        ({"erase_probability": 2}, "erase_probability is"),
        ({"flip": True}, "unknown key 'flip'; known keys are"),
    ],
)
def test_mistakes_in_the_recipe_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        schema.build(AugmentConfig, values, "recipe.yaml: data.augment")
