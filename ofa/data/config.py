"""The recipe's section `data`: which images, how they are split, augmented and normalised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from ofa.data.augment.augmentation import AugmentConfig
from ofa.files.bounds import Above, AtLeast, AtMost, Below, Bounded, OneOf, WholeNumber


@dataclass(frozen=True, kw_only=True)
class NormaliseConfig(Bounded):
    """Mean and deviation of each channel, of images in [0, 1]."""

    mean: tuple[float, ...]
    """One per channel."""
    std: tuple[Annotated[float, Above(0)], ...]
    """One per channel."""

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
    """Images, or fraction, held out of training; None: the source's own `val/`, else a tenth of training."""
    split_seed: WholeNumber = 0
    """Decides which images are held out."""
    split_by: Annotated[str, OneOf(("name", "order"))] = "name"
    """`name`: a hash of each file's name decides, so that added images move none from training to validation; `order`: the
    place in the list decides, as in versions before 0.2 and always with arrays."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    normalise: NormaliseConfig | None = None
    """None: computed from the training part."""
    evaluation_crop: Annotated[float, Above(0), AtMost(1)] = 1.0
    """Fraction of the shorter side that evaluation keeps, in the centre (ImageNet's habit is 0.875)."""
    workers: WholeNumber | None = None
    """Processes that decode image files; None: one per usable CPU, at most 16. Of each process of a parallel training, which
    share the CPUs."""
    memory_limit_mb: Annotated[float, AtLeast(0)] = 2048.0
    """An image folder of equal sizes below it is decoded once and stays in memory."""
    background: Annotated[int, AtLeast(0), AtMost(255)] = 255
    """Grey value, 0 (black) to 255 (white), that shows where an image file is transparent."""
    exif_orientation: bool = True
    """Turn photographs upright, as their EXIF says."""
