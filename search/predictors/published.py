"""The published package's accuracy predictors: small networks over one-hot architectures.

Cai et al., https://github.com/mit-han-lab/once-for-all. Both have three hidden layers of 400 units and ReLU. An input is 1
where the subnet has that choice; the inputs of absent blocks are 0. Torch only reads the file; the network runs in numpy.

- mbv3-w1.2, 128 inputs: kernel (20 blocks x 3), expand (20 x 3), resolution 112 to 224 in steps of 16.
- resnet50, 82 inputs: resolution (8; there is no 208), whether the stem has its optional convolution (2), widths of the
  stem's inner and outer convolutions and of the stages (6 x 3), expand (18 blocks x 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ofa.errors import UserError
from ofa.official.torch_file import read_state_dict
from ofa.space.search_space import Genes, SearchSpace, load_space
from search.arrays import Floats, Indices

Layers = tuple[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], ...]
HIDDEN_UNITS = 400
ROWS_AT_ONCE = 192
"""Rows predicted at once: two layers of their activations fit the second-level cache, which takes a third off the time."""
INPUT_RESOLUTIONS = {
    "mbv3-w1.2": tuple(range(112, 225, 16)),
    "resnet50": (128, 144, 160, 176, 192, 224, 240, 256),
}
"""Resolutions for which the network has an input."""
RESOLUTIONS = {"mbv3-w1.2": tuple(range(160, 225, 16)), "resnet50": INPUT_RESOLUTIONS["resnet50"]}
"""Resolutions at which the predictors were fitted, and at which the authors search. In mbv3-w1.2's predictor the inputs for
other resolutions were never trained: its predictions for random subnets are 2 points higher at 128 px than at 160."""
INPUTS = {"mbv3-w1.2": 128, "resnet50": 82}
SPELLINGS = {
    "mbv3-w1.2": [("0.weight", "0.bias"), ("2.weight", "2.bias"), ("4.weight", "4.bias"), ("6.weight", "6.bias")],
    "resnet50": [
        ("layers.0.0.weight", "layers.0.0.bias"),
        ("layers.1.0.weight", "layers.1.0.bias"),
        ("layers.2.0.weight", "layers.2.0.bias"),
        ("layers.3.weight", "base_acc"),
    ],
}
"""Weight and bias of each layer, as the published files name them."""


@dataclass(frozen=True, eq=False)
class PublishedPredictor:
    """Top-1 of the subnets of mbv3-w1.2 or resnet50 on ImageNet, as the published package predicts it."""

    kind: ClassVar[str] = "published"
    samples: ClassVar[None] = None
    """Unknown: the published files do not say how many subnets they were fitted to."""

    space: SearchSpace
    name: str
    """The space that it is for, which `space` is or is a part of."""
    gene: Indices
    """The gene of each input, int64[inputs]."""
    level: Indices
    """The choice of that gene for which the input is 1, int64[inputs]; -1 where the space does not have it."""
    layers: Layers
    """Weight [inputs, outputs] and bias of each layer; ReLU between. float32 as in the package: twice as fast as float64,
    and equal to it within 1e-7. By as much the prediction of a subnet may differ between batches."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The resolutions that it was fitted to."""
        return RESOLUTIONS[self.name]

    def top1(self, genes: Genes) -> Floats:
        """Predicted top-1, float64[n]; raises `UserError` for a resolution that the predictor was not fitted to."""
        features = self.features(genes)
        top1 = np.empty(len(features))
        rooms = np.empty((2, min(ROWS_AT_ONCE, len(features)), HIDDEN_UNITS), dtype=np.float32)
        zeros = np.zeros_like(rooms[0])  # a maximum of two arrays is five times as fast as one with a number
        for start in range(0, len(features), ROWS_AT_ONCE):
            x = features[start : start + ROWS_AT_ONCE]
            for i, (weight, bias) in enumerate(self.layers[:-1]):
                x = np.matmul(x, weight, out=rooms[i % 2, : len(x)])
                x += bias
                np.maximum(x, zeros[: len(x)], out=x)
            weight, bias = self.layers[-1]
            top1[start : start + ROWS_AT_ONCE] = (x @ weight + bias)[:, 0]
        return top1

    def std(self, genes: Genes) -> None:
        """Return None: the published files have no uncertainty."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that are stored."""
        return {name: array for i, pair in enumerate(self.layers) for name, array in zip(_names(i), pair, strict=True)}

    def facts(self) -> dict[str, Any]:
        """The facts that are stored as JSON."""
        return {"published": self.name}

    @classmethod
    def restore(
        cls, space: SearchSpace, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]
    ) -> PublishedPredictor:
        """The inverse of `arrays` and `facts`; raises `KeyError` or `ValueError` for other arrays."""
        name = facts["published"]
        if name not in INPUTS:
            raise ValueError(f"published is {name!r}; known are {', '.join(INPUTS)}")
        layers = tuple((arrays[weight], arrays[bias]) for weight, bias in map(_names, range(len(SPELLINGS[name]))))
        if not _fits([(weight.T, bias) for weight, bias in layers], name):
            raise ValueError(f"the arrays have other shapes than those of the published predictor of {name}")
        return cls(space, name, *_inputs(space, name), layers)

    def features(self, genes: Genes) -> npt.NDArray[np.float32]:
        """The inputs, float32[n, 128 or 82]."""
        sizes = np.asarray(self.space.resolutions)
        unknown = np.flatnonzero(~np.isin(sizes, self.resolutions)[self.space.rows(genes).resolution])
        if len(unknown):
            size = sizes[self.space.rows(genes).resolution[unknown[0]]]
            raise UserError(
                f"the published predictor does not know resolution {size}; known are {list(self.resolutions)}: "
                "search in space.restrict(resolutions=...)"
            )
        used = np.where(self.space.rows(genes).present(), genes, -2)  # -2 equals no level, so absent blocks are 0
        on = np.ascontiguousarray(used.T).take(self.gene, axis=0) == self.level.astype(np.int8)[:, None]
        return np.asarray(on.astype(np.float32).T)


def load_published(path: str | Path, space: SearchSpace) -> PublishedPredictor:
    """Read a published `.pth` file for mbv3-w1.2 or resnet50, for that space or a part of it with fewer resolutions.

    Raises:
        UserError: no such file, another kind of file, or another space.
    """
    path = Path(path)
    state = {key: value.float().numpy() for key, value in read_state_dict(path).items()}
    name = next((name for name in SPELLINGS if set(state) == {key for pair in SPELLINGS[name] for key in pair}), None)
    if name is None or not _fits([(state[weight], state[bias]) for weight, bias in SPELLINGS[name]], name):
        raise UserError(
            f"{path}: not one of the published predictors, of mbv3-w1.2 (128 inputs) and resnet50 (82 inputs), "
            "with three hidden layers of 400"
        )
    whole = load_space(name)
    same = all(getattr(space, part) == getattr(whole, part) for part in ("block", "stem", "stages", "classes"))
    if not same:
        raise UserError(
            f"{path}: the predictor is for space {name} with fingerprint {whole.fingerprint}; "
            f"{space.name} has fingerprint {space.fingerprint}"
        )
    layers = tuple(
        (np.ascontiguousarray(_normal(state[weight]).T), _normal(state[bias])) for weight, bias in SPELLINGS[name]
    )
    return PublishedPredictor(space, name, *_inputs(space, name), layers)


def _fits(layers: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]], name: str) -> bool:
    sizes = (INPUTS[name], HIDDEN_UNITS, HIDDEN_UNITS, HIDDEN_UNITS, 1)
    return all(
        weight.shape == (sizes[i + 1], sizes[i]) and bias.shape == (sizes[i + 1],) for i, (weight, bias) in enumerate(layers)
    )


def _names(layer: int) -> tuple[str, str]:
    """Names under which a layer's weight and bias are stored."""
    return f"weight{layer}", f"bias{layer}"


def _normal(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The values with subnormal numbers set to 0; resnet50's file is full of them, they are slow and change nothing."""
    return np.where(np.abs(values) < np.finfo(np.float32).tiny, np.float32(0), values)


def _inputs(space: SearchSpace, name: str) -> tuple[Indices, Indices]:
    """Gene and choice of each input, in the order of the published encoders."""
    column = {gene.name: i for i, gene in enumerate(space.genes)}
    sizes = INPUT_RESOLUTIONS[name]
    resolutions = [(0, space.resolutions.index(size) if size in space.resolutions else -1) for size in sizes]

    def one_hot(names: list[str]) -> list[tuple[int, int]]:
        return [(column[name], level) for name in names for level in range(len(space.genes[column[name]].choices))]

    def blocks(what: str) -> list[str]:
        return [
            f"stages[{g.stage}].blocks[{g.block}].{what}"
            for g in space.genes
            if g.name.endswith(what) and g.stage in elastic
        ]

    elastic = [i for i, stage in enumerate(space.stages) if len(stage.expands) > 1]
    if name == "mbv3-w1.2":
        pairs = one_hot(blocks("kernel")) + one_hot(blocks("expand")) + resolutions
    else:
        widths = ["stem.hidden", "stem.width", *(f"stages[{s}].width" for s in elastic)]
        pairs = resolutions + one_hot(["stem.depth"]) + one_hot(widths) + one_hot(blocks("expand"))
    gene, level = np.array(pairs, dtype=np.int64).T
    return gene, level
