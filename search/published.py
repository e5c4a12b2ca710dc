"""The published package's accuracy predictors: small networks over one-hot architectures.

Cai et al., https://github.com/mit-han-lab/once-for-all. The file for MobileNetV3 (w1.2) takes 128 inputs: per block a
one-hot of kernel (20 x 3), then of expand (20 x 3), absent blocks all 0, then of the resolution, 112 to 224 in steps of 16.
torch only reads the file; the network runs in numpy.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ofa.errors import UserError
from ofa.space import Genes, SearchSpace, load_space
from search.genes import present
from search.problem import Floats

SPACE = "mbv3-w1.2"
LAYERS = ("0", "2", "4", "6")
RESOLUTIONS = tuple(range(112, 225, 16))


@dataclass(frozen=True)
class PublishedPredictor:
    """Top-1 of mbv3-w1.2's subnets on ImageNet, as the published package predicts it."""

    space: SearchSpace
    layers: tuple[tuple[Floats, Floats], ...]
    """Weight and bias of each layer; ReLU between."""

    def top1(self, genes: Genes) -> Floats:
        """Predicted top-1, float64[n]; raises `UserError` for a resolution it was not fitted to."""
        x = self.features(genes)
        for weight, bias in self.layers[:-1]:
            x = np.maximum(x @ weight.T + bias, 0)
        weight, bias = self.layers[-1]
        return np.asarray((x @ weight.T + bias)[:, 0])

    def std(self, genes: Genes) -> None:
        """Unknown: the published files carry no uncertainty."""

    def features(self, genes: Genes) -> Floats:
        """The 128 inputs, float64[n, 128]."""
        resolution = np.asarray(self.space.resolutions)[genes[:, 0]]
        unknown = resolution[~np.isin(resolution, RESOLUTIONS)]
        if len(unknown):
            raise UserError(
                f"the published predictor does not know resolution {unknown[0]}; known are {list(RESOLUTIONS)}: "
                "search in space.restrict(resolutions=...)"
            )
        used = present(self.space, genes)
        blocks = [i for i, gene in enumerate(self.space.genes) if gene.block is not None and gene.stage]
        parts = []
        for name in ("kernel", "expand"):
            columns = [i for i in blocks if self.space.genes[i].name.endswith(name)]
            on = (genes[:, columns, None] == np.arange(3)) & used[:, columns, None]
            parts.append(on.reshape(len(genes), -1))
        parts.append(resolution[:, None] == np.asarray(RESOLUTIONS))
        return np.concatenate(parts, axis=1, dtype=np.float64)


def load_published(path: str | Path, space: SearchSpace) -> PublishedPredictor:
    """Read a published `.pth` file for mbv3-w1.2.

    Raises:
        UserError: no such file, another kind of file, or another space.
    """
    path = Path(path)
    state = _read(path)
    expected = {f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")}
    if set(state) != expected or state["0.weight"].shape[1] != 128:
        raise UserError(
            f"{path}: not the published predictor of {SPACE}; expected layers {', '.join(LAYERS)} with 128 inputs"
        )
    whole = load_space(SPACE)
    if space.stages != whole.stages or space.classes != whole.classes:
        raise UserError(
            f"{path}: the predictor is for space {SPACE} with fingerprint {whole.fingerprint}; "
            f"{space.name} has fingerprint {space.fingerprint}"
        )
    layers = tuple((state[f"{layer}.weight"], state[f"{layer}.bias"]) for layer in LAYERS)
    return PublishedPredictor(space, layers)


def _read(path: Path) -> dict[str, Floats]:
    import torch

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return {key: np.asarray(value.numpy(), dtype=np.float64) for key, value in state.items()}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (RuntimeError, pickle.UnpicklingError, AttributeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a state dict that torch can load safely: {reason}") from None
