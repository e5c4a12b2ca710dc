"""A training recipe: data, space, optimiser and a list of phases, as read from YAML. The schedule is data, not code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from ofa.data.augment.mixup import MixConfig
from ofa.data.balance import BalanceConfig
from ofa.data.config import DataConfig
from ofa.errors import UserError
from ofa.files import schema, shipped
from ofa.files.bounds import Above, AtLeast, Bounded, Count, Fraction, NotEmpty, NotNegative, OneOf, WholeNumber
from ofa.measure.config import EvaluationConfig
from ofa.nets.losses import DIVERGENCES
from ofa.numerics.stated import BITS, RANGES
from ofa.space.parts import LISTS, Resolutions
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.subspace import is_subspace, largest_only

INCLUDED = ("largest", "smallest")
TEACHERS = ("first", "largest")
PRECISIONS = ("fp32", "bf16", "auto")
CHOICES = (*LISTS, "widths")


@dataclass(frozen=True, kw_only=True)
class Opens(Bounded):
    """Choices that are open from a phase on; a key that is not given stays as in the previous phase."""

    kernels: tuple[int, ...] | None = None
    """Open kernel sizes, in pixels."""
    depths: tuple[int, ...] | None = None
    """Open numbers of blocks per stage."""
    expands: tuple[float, ...] | None = None
    """Open expand ratios."""
    se: tuple[bool, ...] | None = None
    """Open choices of squeeze-and-excitation: `[true]`, `[false]` or both."""
    widths: Count | None = None
    """Number of open widths of the stem and of each stage, counted from the widest."""
    everything: bool = False
    """True: all choices of the space are open."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.everything and self.given() != dict.fromkeys(CHOICES):
            raise ValueError("opens has everything and other keys; give one or the others")

    def given(self) -> dict[str, Any]:
        """The keys that are given, with their values; None stands for all choices of the space."""
        values = {name: getattr(self, name) for name in CHOICES}
        given = {name: value for name, value in values.items() if value is not None}
        return dict.fromkeys(CHOICES) | given if self.everything else given


@dataclass(frozen=True, kw_only=True)
class Phase(Bounded):
    """One phase of the schedule: the open choices, the subnets of a step, and what they learn from."""

    name: str
    """Name in logs and messages; phases have different names."""
    epochs: Count
    """Epochs of the cosine schedule, after the warm-up."""
    peak_lr: NotNegative
    """Peak learning rate for `lr_images` images per step; scaled in proportion to `batch_size`."""
    opens: Opens = field(default_factory=Opens)
    warmup_epochs: WholeNumber = 0
    """Epochs of linear warm-up, before the others."""
    warmup_lr: NotNegative = 0.0
    """Learning rate at the start of the warm-up; not scaled."""
    subnets_per_step: Count = 1
    """Subnets that each step trains on the same batch; their gradients are combined."""
    include: tuple[Annotated[str, OneOf(INCLUDED)], ...] = ()
    """Subnets in every step, the `largest` or `smallest` of the open ones; the others are random."""
    teacher: Annotated[str, OneOf(TEACHERS)] = "first"
    """`first`: the largest net at the end of the first phase teaches all subnets (OFA). `largest`: the largest net of the
    same step, which learns from the labels alone, teaches the others (BigNAS)."""
    distill: NotNegative = 1.0
    """Weight of the teacher's soft labels; without effect where there is no teacher, as with `first` in the first phase."""
    label_weight: NotNegative = 1.0
    """Weight of the true labels where there is a teacher."""
    divergence: Annotated[str, OneOf(tuple(DIVERGENCES))] = "cross_entropy"
    """Divergence from the teacher: `cross_entropy`, or `alpha_divergence` (AlphaNet)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subnets_per_step < len(self.include):
            raise ValueError(f"subnets_per_step is {self.subnets_per_step}; must be at least {len(self.include)}")
        if self.teacher == "largest" and self.include[:1] != ("largest",):
            raise ValueError(f"teacher is largest but include is {list(self.include)}; it must begin with largest")
        if self.label_weight == 0 and self.distill == 0:
            raise ValueError("label_weight and distill are both 0; subnets would learn from nothing")

    @property
    def total_epochs(self) -> int:
        """Number of epochs, including the warm-up."""
        return self.warmup_epochs + self.epochs


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig(Bounded):
    """SGD with Nesterov momentum, as published."""

    momentum: Fraction = 0.9
    """Nesterov momentum."""
    weight_decay: NotNegative = 3e-5
    """Weight decay of convolutions and the classifier; norms, biases and kernel transforms have none."""
    clip_norm: Annotated[float, Above(0)] | None = None
    """Norm to which a step's gradient is clipped; None: no clipping."""
    subnet_gradients: Annotated[str, OneOf(("mean", "sum"))] = "mean"
    """Combination of the gradients of a step's subnets: their `mean`, or their `sum` as in the published code."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Bounded):
    """Everything a run depends on; `docs/training.md` explains the YAML."""

    space: str
    """Name of a space that ships, or path of a YAML file, relative to the recipe or to the current directory."""
    data: DataConfig
    phases: Annotated[tuple[Phase, ...], NotEmpty("a recipe needs at least one phase")]
    """Phases in order; each continues with the weights of the previous one."""
    classes: Annotated[int, AtLeast(2)] | None = None
    """Number of classes; None: that of the space."""
    resolutions: Resolutions | None = None
    """Resolutions in pixels; None: those of the space."""
    init: str | None = None
    """A finished run whose supernet this one starts from (`ofa.training.transfer`)."""
    batch_size: Count = 64
    """Images per step, over all processes together."""
    lr_images: Count = 64
    """Images per step that `peak_lr` is meant for."""
    label_smoothing: Fraction = 0.1
    """Fraction of a label's probability that is spread over all classes."""
    mix: MixConfig = field(default_factory=MixConfig)
    """Mixup and cutmix."""
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    """Balancing of classes of unequal size."""
    average_decay: Fraction = 0.0
    """Decay of a moving average of the weights, which is then measured and saved in place of them; 0: off."""
    drop_connect: Fraction = 0.0
    """Probability that an image skips the last residual block in training, falling linearly to 0 at the first. Where the
    largest net of a step is the teacher, only that net drops blocks, as in BigNAS."""
    zero_gamma: bool = False
    """Start with residual blocks that pass their input through unchanged (Goyal et al., arXiv:1706.02677)."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    synchronise_norms: bool = False
    """With several processes: batch norms in training use the whole batch, not only each process's share."""
    precision: Annotated[str, OneOf(PRECISIONS)] = "fp32"
    """Precision of training: `bf16` autocasts subnets and teacher. Weights, batch-norm statistics, losses and all
    measurements stay float32. `auto` is bf16 on a GPU or CPU that has instructions for it, and fp32 elsewhere."""
    weight_noise: Fraction = 0.0
    """Standard deviation of noise on the weights in each forward pass of training, as a fraction of the largest one: for an
    analog array (`docs/numerics.md`). Measurements are without it."""
    noise_relative_to: Annotated[str, OneOf(RANGES)] = "column"
    """Weights whose largest magnitude `weight_noise` refers to: those of a `column` (an output channel) or of a `layer`."""
    fake_quantisation: Annotated[str, OneOf(tuple(BITS))] | None = None
    """Rounding in each forward pass of training: `int8` of weights and of the inputs of layers, `int4_weights` of weights
    alone; None: nothing is rounded. Gradients ignore it."""
    activation_checkpointing: bool = False
    """Recompute the inside of blocks in the backward pass instead of storing it, to save memory."""
    checkpoint_seconds: Annotated[float, AtLeast(0)] = 120.0
    """Most seconds between checkpoints; there is one after every epoch too."""
    tensorboard: bool = False
    """Write TensorBoard event files in addition to `metrics.jsonl` (extra `tensorboard`)."""
    seed: WholeNumber = 0
    """Seed of initial weights, order of images, augmentation and subnets."""
    description: str = ""
    """One or two sentences for users."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phases are named {names}; names must be distinct")


def load_recipe(name_or_path: str | Path) -> tuple[Recipe, SearchSpace]:
    """A recipe and its space, checked against each other.

    Raises:
        UserError: the file is wrong, or a phase closes a choice or opens one that the space does not have; names the line.
    """
    path = shipped.find("", name_or_path, what="recipe")
    raw = schema.load_yaml(path)
    recipe = schema.build(Recipe, raw, str(path))
    beside = path.parent / recipe.space
    space = load_space(beside if beside.is_file() else recipe.space)
    own: dict[str, Any] = {"classes": recipe.classes, "resolutions": recipe.resolutions}
    try:
        space = replace(space, **{key: value for key, value in own.items() if value is not None})
    except ValueError as error:  # resolutions that the space refuses
        raise UserError(f"{path}: {error}") from None
    lines = [getattr(phase, "line", 0) for phase in raw["phases"]]
    opened_spaces(recipe, space, [f"{path}:{line}: phases[{i}]" for i, line in enumerate(lines)])
    return recipe, space


def opened_spaces(recipe: Recipe, space: SearchSpace, places: Sequence[str] | None = None) -> list[SearchSpace]:
    """The subspace that each phase trains; raises `UserError` for a choice that a phase closes, or the space lacks."""
    places = places or [f"phases[{i}]" for i in range(len(recipe.phases))]
    opened: list[SearchSpace] = []
    limits: dict[str, Any] = {}
    for phase, place in zip(recipe.phases, places, strict=True):
        limits |= phase.opens.given()
        try:
            part = _open(space, limits)
        except ValueError as error:  # from `restrict`, or from the space that it makes
            raise UserError(f"{place} ({phase.name}): {error}") from None
        if opened and not is_subspace(opened[-1], part):
            raise UserError(f"{place} ({phase.name}): closes a choice that an earlier phase opened; phases only open more")
        opened.append(part)
    return opened


def _open(space: SearchSpace, limits: dict[str, Any]) -> SearchSpace:
    part = space.restrict(**limits)
    closed = largest_only(space)
    stages: Any = list(part.stages)
    for name in CHOICES:
        if name not in limits:
            stages = [replace(s, **{name: getattr(c, name)}) for s, c in zip(stages, closed.stages, strict=True)]
    stem = part.stem
    if "widths" not in limits:
        stem = replace(stem, widths=closed.stem.widths, hidden_widths=closed.stem.hidden_widths)
    if "depths" not in limits:
        stem = replace(stem, depths=closed.stem.depths)
    return replace(part, stages=tuple(stages), stem=stem)
