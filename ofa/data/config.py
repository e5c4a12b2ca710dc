"""The recipe's section `data`: the images, and how they are split, augmented and normalised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from ofa.data.augment.augmentation import AugmentConfig
from ofa.files.bounds import Above, AtLeast, AtMost, Below, Bounded, OneOf, WholeNumber


@dataclass(frozen=True, kw_only=True)
class NormaliseConfig(Bounded):
    """Mean and standard deviation by which images in [0, 1] are normalised."""

    mean: tuple[float, ...]
    """Mean of each channel."""
    std: tuple[Annotated[float, Above(0)], ...]
    """Standard deviation of each channel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} values and std {len(self.std)}; give one per channel")


@dataclass(frozen=True, kw_only=True)
class DataConfig(Bounded):
    """The recipe's section `data`."""

    source: str
    """`fashion-mnist`; a folder with `train/CLASS/*.jpg` (and `val/` or `test/`); an `.npz` or a folder of `.npy`."""
    validation: Annotated[int, AtLeast(1)] | Annotated[float, Above(0), Below(1)] | None = None
    """Number or fraction of training images held out for validation; None: the source's own `val/`, else a tenth."""
    split_seed: WholeNumber = 0
    """Seed of the choice of held-out images."""
    split_by: Annotated[str, OneOf(("name", "order"))] = "name"
    """`name`: an image is held out by a hash of its file name, so that images added later do not move others from training
    to validation. `order`: by its place in a random order, as in versions before 0.2; arrays are always split so."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    normalise: NormaliseConfig | None = None
    """Mean and standard deviation for normalising; None: those of the training images."""
    evaluation_crop: Annotated[float, Above(0), AtMost(1)] = 1.0
    """Fraction of the shorter side that evaluation keeps, in the centre (0.875 is usual on ImageNet)."""
    workers: Annotated[int, AtLeast(0), AtMost(1024)] | None = None
    """Processes that decode image files, for each rank; None: one per usable CPU (ranks share the CPUs), at most 16."""
    memory_limit_mb: Annotated[float, AtLeast(0)] = 2048.0
    """An image folder whose images have one size and together take less than this is decoded once and kept in memory."""
    background: Annotated[int, AtLeast(0), AtMost(255)] = 255
    """Grey value, 0 (black) to 255 (white), behind the transparent areas of an image."""
    exif_orientation: bool = True
    """Turn photographs upright by their EXIF orientation."""
