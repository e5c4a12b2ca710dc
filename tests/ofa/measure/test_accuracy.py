"""Top-1 and balanced accuracy, from how many images of each class are right."""

from __future__ import annotations

import numpy as np
import pytest

from ofa import UserError
from ofa.measure.accuracy import ACCURACIES, BALANCED, TOP1, ClassCounts, accuracy_named

LABELS = np.repeat(np.arange(3), (80, 15, 5))


def counts(*recalls: float) -> ClassCounts:
    images = (80, 15, 5)
    return ClassCounts(tuple(round(recall * size) for recall, size in zip(recalls, images, strict=True)), images)


def test_balanced_accuracy_is_the_mean_recall() -> None:
    found = counts(1.0, 0.6, 0.2)
    assert TOP1.value(found) == 0.9
    assert BALANCED.value(found) == pytest.approx(0.6)
    assert found.by_class == [1.0, 0.6, 0.2]
    assert found.unequal
    even = ClassCounts((7, 5), (10, 10))
    assert not even.unequal
    assert BALANCED.value(even) == TOP1.value(even) == 0.6


def test_counts_are_by_label() -> None:
    right = np.zeros(100, dtype=bool)
    right[[0, 1, 80, 99]] = True
    found = ClassCounts.of(right, LABELS, 4)
    assert found.right == (2, 1, 1, 0)
    assert found.images == (80, 15, 5, 0)
    assert found.by_class[3] is None
    assert BALANCED.value(found) is None  # unknown, not 0
    assert BALANCED.standard_error(found) is None
    assert TOP1.value(found) == right.mean()


@pytest.mark.parametrize("metric", ACCURACIES.values(), ids=list(ACCURACIES))
def test_the_standard_error_is_that_of_repeated_samples(metric: object) -> None:
    assert metric in (TOP1, BALANCED)
    known = TOP1 if metric is TOP1 else BALANCED
    rng = np.random.default_rng(0)
    images = (80, 15, 5)
    draws = rng.binomial(images, [0.9, 0.6, 0.4], (4000, 3)).tolist()
    drawn = [known.value(ClassCounts(tuple(right), images)) for right in draws]
    wanted = known.standard_error(counts(0.9, 0.6, 0.4))
    assert wanted is not None
    # Binomial over all images counts the classes as drawn too, so top-1's is a little wider.
    assert float(np.std(drawn)) == pytest.approx(wanted, rel=0.12)
    assert known.standard_error(counts(1.0, 1.0, 1.0)) is None


def test_groups_weigh_images_as_the_whole_does() -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(100)
    right, labels = rng.random(100)[order] < 0.7, LABELS[order]
    for metric in ACCURACIES.values():
        groups = metric.per_group(right, labels, 3, 10)
        assert groups.shape == (10,)
        assert ((groups >= 0) & (groups <= 1)).all()
        whole = metric.per_group(right, labels, 3, 1)
        assert whole[0] == pytest.approx(metric.value(ClassCounts.of(right, labels, 3)))
    assert TOP1.per_group(right, labels, 3, 10) == pytest.approx(right.reshape(10, 10).mean(axis=1))


def test_an_unknown_name_in_a_file_is_an_error() -> None:
    assert accuracy_named("balanced", "predictor.json") is BALANCED
    for name in ("f1", None, 3):
        with pytest.raises(UserError, match=r"predictor.json: accuracy is '.*'; known are top1, balanced"):
            accuracy_named(name, "predictor.json")
