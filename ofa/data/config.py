"""The recipe's section `data`: which images, how they are split, augmented and normalised."""

from __future__ import annotations

from dataclasses import dataclass, field

from ofa.data.augment.augmentation import AugmentConfig


@dataclass(frozen=True, kw_only=True)
class NormaliseConfig:
    """Mean and deviation of each channel, of images in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} values and std {len(self.std)}; give one per channel")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std is {list(self.std)}; all values must be above 0")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The recipe's section `data`."""

    source: str
    """`fashion-mnist`; a folder with `train/CLASS/*.jpg` (and `val/` or `test/`); an `.npz` or a folder of `.npy`."""
    validation: int | float | None = None
    """Images, or fraction, held out of training; None: the source's own `val/`, else a tenth of training."""
    split_seed: int = 0
    """Decides which images are held out."""
    split_by: str = "name"
    """`name`: a hash of each file's name decides, so that added images move none from training to validation; `order`: the
    place in the list decides, as in versions before 0.2 and always with arrays."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    normalise: NormaliseConfig | None = None
    """None: computed from the training part."""
    evaluation_crop: float = 1.0
    """Fraction of the shorter side that evaluation keeps, in the centre (ImageNet's habit is 0.875)."""
    workers: int | None = None
    """Processes that decode image files; None: one per usable CPU, at most 16. Of each process of a parallel training, which
    share the CPUs."""
    memory_limit_mb: float = 2048.0
    """An image folder of equal sizes below it is decoded once and stays in memory."""
    background: int = 255
    """Grey value, 0 (black) to 255 (white), that shows where an image file is transparent."""
    exif_orientation: bool = True
    """Turn photographs upright, as their EXIF says."""

    def __post_init__(self) -> None:
        value = self.validation
        if isinstance(value, float) and not 0 < value < 1:
            raise ValueError(f"validation is {value}; expected a fraction between 0 and 1, or a whole number of images")
        if isinstance(value, int) and value < 1:
            raise ValueError(f"validation is {value}; at least one image must be held out")
        if not 0 < self.evaluation_crop <= 1:
            raise ValueError(f"evaluation_crop is {self.evaluation_crop}; it must lie in (0, 1]")
        if self.split_by not in ("name", "order"):
            raise ValueError(f"split_by is {self.split_by!r}; allowed are name, order")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers is {self.workers}; it must be 0 or more")
        if not 0 <= self.background <= 255:
            raise ValueError(f"background is {self.background}; it must lie in 0 (black) to 255 (white)")
        if self.split_seed < 0:
            raise ValueError(f"split_seed is {self.split_seed}; it must be 0 or more")
