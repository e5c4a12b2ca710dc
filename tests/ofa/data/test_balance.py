"""Unequal classes: weights in the loss, images drawn more often; both the same on average."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ofa import UserError
from ofa.data.balance import BalanceConfig, balanced_order, weights_of
from ofa.data.batches import Data, load_data
from ofa.data.config import DataConfig
from ofa.files import schema
from ofa.nets.losses import subnet_loss

COUNTS = (120, 30, 10)
LABELS = np.repeat(np.arange(3), COUNTS)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Images whose classes are of very different sizes."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (200, 8, 8), dtype=np.uint8), np.repeat([0, 1, 2], [150, 38, 12])
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels)
    return load_data(DataConfig(source=str(tmp_path / "data.npz"), validation=20))


def labels_of(data: Data, balance: BalanceConfig | None, **options: int) -> list[int]:
    batches = data.batches("train", batch_size=20, resolution=8, shuffle=True, augment=True, balance=balance, **options)
    return [int(label) for _, labels in batches for label in labels]


def test_weights_are_one_on_average_and_give_each_class_the_same_part() -> None:
    weights = weights_of(LABELS, 3, 1.0)
    assert weights == pytest.approx([160 / 3 / count for count in COUNTS])
    assert weights[LABELS].mean() == pytest.approx(1)
    milder = weights_of(LABELS, 4, 0.5)  # class 3 has no image
    assert milder[LABELS].mean() == pytest.approx(1)
    assert milder[1] / milder[0] == pytest.approx((120 / 30) ** 0.5)
    assert milder[3] == 0
    assert weights_of(np.repeat(np.arange(4), 5), 4, 0.7) == pytest.approx(1)


def test_an_epoch_has_every_class_in_its_proportion_and_images_of_a_class_equally_often() -> None:
    order = balanced_order(LABELS, weights_of(LABELS, 3, 1.0), torch.Generator().manual_seed(1))
    assert sorted(np.bincount(LABELS[order]).tolist()) == [53, 53, 54]
    times = np.bincount(order, minlength=len(LABELS))
    for label in range(3):
        assert np.ptp(times[label == LABELS]) <= 1
    assert not np.array_equal(LABELS[order], np.sort(LABELS[order]))
    other = balanced_order(LABELS, weights_of(LABELS, 3, 1.0), torch.Generator().manual_seed(2))
    assert set(order.tolist()) != set(other.tolist())  # another part of the large class


def test_sampling_is_a_function_of_seed_and_epoch_and_resumes(data: Data) -> None:
    sampling = BalanceConfig(method="sampling")
    counts = np.bincount(labels_of(data, sampling))
    assert counts.sum() == 180
    assert np.ptp(counts) <= 1
    assert labels_of(data, sampling, epoch=1) != labels_of(data, sampling)
    assert labels_of(data, sampling, epoch=1, start=4) == labels_of(data, sampling, epoch=1)[80:]


@pytest.mark.parametrize("balance", [None, BalanceConfig(), BalanceConfig(method="weights")])
def test_without_sampling_the_order_is_what_it_was(balance: BalanceConfig | None, data: Data) -> None:
    assert labels_of(data, balance) == labels_of(data, None)
    assert np.bincount(labels_of(data, balance)).tolist() == np.bincount(data.labels("train")).tolist()


@pytest.mark.parametrize("divergence", ["cross_entropy", "alpha_divergence"])
def test_weighted_images_count_as_repeated_ones(divergence: str) -> None:
    rng = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(4, 3, generator=rng), F.softmax(torch.randn(4, 3, generator=rng), dim=1)
    labels = torch.tensor([0, 1, 2, 1])
    facts = {"label_smoothing": 0.1, "distill": 0.7, "label_weight": 0.5, "divergence": divergence}
    twice = [0, 1, 2, 2, 2, 3]
    wanted = subnet_loss(logits[twice], labels[twice], teacher=teacher[twice], **facts)  # type: ignore[arg-type]
    weights = torch.tensor([1.0, 1.0, 3.0, 1.0]) * 4 / 6
    found = subnet_loss(logits, labels, teacher=teacher, image_weights=weights, **facts)  # type: ignore[arg-type]
    assert found.item() == pytest.approx(wanted.item())
    halves = [
        subnet_loss(logits[part], labels[part], teacher=teacher[part], image_weights=weights[part], **facts)  # type: ignore[arg-type]
        for part in (slice(0, 2), slice(2, 4))
    ]
    assert (sum(halves) / 2).item() == pytest.approx(found.item())  # type: ignore[union-attr]  # as two processes share a batch


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "oversample"}, "method is 'oversample'; allowed are none, weights, sampling"),
        ({"method": "weights", "power": 0}, "power is 0.0; must be above 0 and at most 1"),
        ({"method": "weights", "power": 1.5}, "power is 1.5; must be above 0 and at most 1"),
    ],
)
def test_mistakes_in_the_recipe_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        schema.build(BalanceConfig, values, "recipe.yaml: balance")
