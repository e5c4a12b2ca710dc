"""Accuracy of subnets by ridge regression, corrected by an ensemble of small networks.

The networks see the features of all stages together, so they can learn interactions that a sum over stages cannot express.
Each is trained on its own random four fifths of the samples to predict the residuals of the ridge regression. Their
disagreement, and their error on the fifth that each has not seen, give the uncertainty (ensembles as in Lakshminarayanan et
al., arXiv 1612.01474). Torch trains them, in a second; predictions run in numpy, so that a query does not need torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ofa.space.search_space import Genes, SearchSpace
from search.arrays import Floats, Mask
from search.predictors.features import FeatureMap, standard
from search.predictors.regression import check_samples, expit, logit, top1_std
from search.predictors.ridge import RidgePredictor, fit_ridge

Weights = npt.NDArray[np.float32]

MEMBERS = 6
"""Networks in the ensemble."""
HIDDEN_UNITS = 32
TRAINING_STEPS = 200
SAMPLES_PER_STEP = 512
"""Samples drawn for a step; all when there are fewer."""
PEAK_LEARNING_RATE = 0.01
WEIGHT_DECAY = 1.0
"""Decoupled weight decay per unit of learning rate (AdamW, arXiv 1711.05101); biases have none."""
SEEN_FRACTION = 0.8
"""Fraction of the samples that a member is trained on."""
ROWS_AT_ONCE = 1024
"""Rows predicted at once, so that they stay in the cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MLPPredictor:
    """Top-1 of the subnets of a space; make one with `fit_mlp`."""

    kind: ClassVar[str] = "mlp"
    FEATURES: ClassVar[str] = "choices+stages"

    base: RidgePredictor
    offset: Floats
    """Mean of each feature, float64[features]."""
    scale: Floats
    """Standard deviation of each feature, float64[features]."""
    layers: tuple[Weights, ...]
    """Weight float32[members, inputs, outputs] and bias float32[members, 1, outputs] of each layer; ReLU between."""
    unit: float
    """Change of the score (logit of top-1) per unit of a network's output."""
    noise: float
    """Variance of a measured score around the ensemble's mean, beyond the members' disagreement."""

    @property
    def space(self) -> SearchSpace:
        """The space of the genes."""
        return self.base.space

    @property
    def samples(self) -> int:
        """Subnets fitted."""
        return self.base.samples

    def top1(self, genes: Genes) -> Floats:
        """Predicted top-1, float64[n] in (0, 1)."""
        return expit(self.base.score(genes) + self._corrections(genes).mean(axis=0))

    def std(self, genes: Genes) -> Floats:
        """Standard deviation of a measurement around the prediction, float64[n]: model error and measuring noise."""
        corrections = self._corrections(genes)
        score = self.base.score(genes) + corrections.mean(axis=0)
        return top1_std(score, self.noise + corrections.var(axis=0, ddof=1))

    def _corrections(self, genes: Genes) -> Floats:
        """Correction of each member to the ridge's score, float64[members, n]."""
        parts = []
        for i in range(0, max(len(genes), 1), ROWS_AT_ONCE):
            x = ((self._features(genes[i : i + ROWS_AT_ONCE]) - self.offset) / self.scale).astype(np.float32)
            parts.append(self.unit * _forward(self.layers, x)[..., 0].astype(np.float64))
        return np.concatenate(parts, axis=1)

    @cached_property
    def _features(self) -> FeatureMap:
        return FeatureMap(self.space, self.FEATURES)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that are stored."""
        layers = {f"layer{i}": layer for i, layer in enumerate(self.layers)}
        base = {f"ridge_{name}": array for name, array in self.base.arrays().items()}
        return {"offset": self.offset, "scale": self.scale, **layers, **base}

    def facts(self) -> dict[str, Any]:
        """The numbers that are stored as JSON."""
        return {**self.base.facts(), "unit": self.unit, "noise": self.noise}

    @classmethod
    def restore(cls, space: SearchSpace, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> MLPPredictor:
        """The inverse of `arrays` and `facts`; raises `ValueError` when shapes do not fit."""
        base = {name.removeprefix("ridge_"): array for name, array in arrays.items() if name.startswith("ridge_")}
        layers = tuple(arrays[f"layer{i}"].astype(np.float32) for i in range(sum("layer" in name for name in arrays)))
        return cls(
            base=RidgePredictor.restore(space, base, facts),
            offset=arrays["offset"].astype(np.float64),
            scale=arrays["scale"].astype(np.float64),
            layers=layers,
            unit=float(facts["unit"]),
            noise=float(facts["noise"]),
        )

    def describe(self) -> str:
        """The model in words, for users."""
        return f"{len(self.layers[0])} networks of {self.layers[0].shape[2]} hidden units that correct a ridge"


def fit_mlp(space: SearchSpace, genes: Genes, top1: npt.ArrayLike, seed: int = 0) -> MLPPredictor:
    """Fit to measured subnets. Arguments and errors as `fit_ridge`; the same seed gives the same predictor."""
    accuracies = check_samples(genes, top1)
    base, rng = fit_ridge(space, genes, accuracies), np.random.default_rng(seed)
    raw = FeatureMap(space, MLPPredictor.FEATURES)(genes)
    offset, scale = standard(raw)
    x = ((raw - offset) / scale).astype(np.float32)
    wrong = logit(accuracies) - base.score(genes)
    unit = max(float(wrong.std()), 1e-12)
    seen = np.stack([rng.permutation(len(x)) < SEEN_FRACTION * len(x) for _ in range(MEMBERS)])
    layers = _train(x, (wrong / unit).astype(np.float32), seen, rng)
    outputs = unit * _forward(layers, x)[..., 0].astype(np.float64)  # [members, samples]
    return MLPPredictor(
        base=base,
        offset=offset,
        scale=scale,
        layers=layers,
        unit=unit,
        noise=_unexplained(outputs, wrong, ~seen, base.leverage(genes)),
    )


def _unexplained(outputs: Floats, targets: Floats, unseen: Mask, leverage: Floats) -> float:
    """Mean squared error on unseen subnets, minus the part that the members' disagreement explains.

    A sample is unseen by only a few members; the mean of these varies more than that of all members, which is corrected for.
    The ridge's residual is made one of leave-one-out by `leverage`.
    """
    members = unseen.sum(axis=0)
    known = members > 0
    mean = (outputs * unseen).sum(axis=0)[known] / members[known]
    error = np.mean(((mean - targets[known]) / (1 - leverage[known])) ** 2)
    disagreement = outputs.var(axis=0, ddof=1).mean()
    fewer = np.mean(1 / members[known]) - 1 / len(outputs)
    return max(float(error - disagreement * (1 + fewer)), float(error) / 10, 1e-12)


def _forward(layers: tuple[Weights, ...], x: Weights) -> Weights:
    """Outputs of every member, float32[members, n, 1], for float32[n, inputs]."""
    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        x = np.maximum(x @ weight + bias, 0)
    return x @ layers[-2] + layers[-1]


def _train(x: Weights, targets: Weights, seen: Mask, rng: np.random.Generator) -> tuple[Weights, ...]:
    """Fit every member to the samples it sees (`seen`: bool[members, samples]), by AdamW with a cosine learning rate.

    Torch is imported here, so that only fitting a predictor needs it, not loading one.
    """
    import torch

    layers = [torch.from_numpy(layer).requires_grad_() for layer in _initial(x.shape[1], len(seen), rng)]
    weights, biases = layers[::2], layers[1::2]
    groups = [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": biases, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=PEAK_LEARNING_RATE)
    cosine = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 * (1 + np.cos(np.pi * (step + 1) / TRAINING_STEPS))
    )
    for _ in range(TRAINING_STEPS):
        rows = slice(None) if len(x) <= SAMPLES_PER_STEP else rng.choice(len(x), SAMPLES_PER_STEP, replace=False)
        inside = torch.from_numpy(seen[:, rows].astype(np.float32))  # [members, rows]
        outputs = torch.from_numpy(x[rows])
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            outputs = torch.relu(outputs @ weight + bias)
        outputs = outputs @ weights[-1] + biases[-1]  # [members, rows, 1]
        errors = inside * (outputs[..., 0] - torch.from_numpy(targets[rows])) ** 2
        loss = (errors.sum(dim=1) / inside.sum(dim=1).clamp(min=1)).sum()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        cosine.step()
    return tuple(layer.detach().numpy() for layer in layers)


def _initial(inputs: int, members: int, rng: np.random.Generator) -> list[Weights]:
    """Random weights and zero biases, in the order of `MLPPredictor.layers`; the first corrections are small."""
    layers: list[Weights] = []
    for before, after in pairwise((inputs, HIDDEN_UNITS, HIDDEN_UNITS, 1)):
        layers.append((rng.normal(size=(members, before, after)) * np.sqrt(2 / before)).astype(np.float32))
        layers.append(np.zeros((members, 1, after), dtype=np.float32))
    layers[-2] *= np.float32(0.1)
    return layers
