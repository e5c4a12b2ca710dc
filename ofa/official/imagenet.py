"""ImageNet (ILSVRC 2012): its classes in label order, and the normalisation with which the published nets were trained."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ofa.files.schema import load_yaml

MEAN = (0.485, 0.456, 0.406)
"""Means of the red, green and blue values, in [0, 1], of the training images, as in the published code."""
STD = (0.229, 0.224, 0.225)


@cache
def classes() -> dict[str, str]:
    """The words of each class, such as `tabby, tabby cat`, by its synset (the folder of its images), in label order."""
    return {synset: str(words) for synset, words in load_yaml(Path(__file__).with_name("imagenet_classes.yaml")).items()}


def in_words(names: tuple[str, ...]) -> tuple[str, ...]:
    """Readable class names: words if `names` are ImageNet's synsets, else `names` unchanged."""
    return tuple(classes().values()) if len(names) == len(classes()) and names == tuple(classes()) else names
