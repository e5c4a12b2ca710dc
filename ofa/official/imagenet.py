"""ImageNet (ILSVRC 2012) as the published nets were trained on it: its classes in label order, and its normalisation."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ofa.files.schema import load_yaml

MEAN = (0.485, 0.456, 0.406)
"""Of the red, green and blue values in [0, 1] of training images, as the published code has it."""
STD = (0.229, 0.224, 0.225)


@cache
def classes() -> dict[str, str]:
    """Synset of each class (the folder of its images), in label order, to its words, such as `tabby, tabby cat`."""
    return {synset: str(words) for synset, words in load_yaml(Path(__file__).with_name("imagenet_classes.yaml")).items()}


def in_words(names: tuple[str, ...]) -> tuple[str, ...]:
    """Class names for people: words where `names` are ImageNet's synsets, else `names` as they are."""
    return tuple(classes().values()) if len(names) == len(classes()) and names == tuple(classes()) else names
