"""Batch-norm statistics of chosen subnets, kept where the images that they are computed on must not be. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ofa.errors import UserError
from ofa.files.bundle import Place
from ofa.files.vouched import check_tensors, vouch_for_tensors
from ofa.space.search_space import Genes, SearchSpace

ADVICE = "copy the bundle again, or pack the run again"
Values = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class StoredStatistics:
    """The statistics of each subnet, in the order of `ofa.measure.array_recalibration.statistics_of`."""

    space: SearchSpace
    genes: Genes
    """int8[subnets, genes], canonical and distinct."""
    values: tuple[Values, ...]
    """float32[values of the subnet], of each subnet."""

    @classmethod
    def read(cls, place: Place, space: SearchSpace) -> StoredStatistics:
        """The content of a file that `stored` made; raises `UserError` where it is damaged or of another space."""
        try:
            content = place.read_bytes()
            check_tensors(content, str(place), ADVICE)
            tensors = load(content)
            genes, ends, values = tensors["genes"], tensors["ends"], tensors["values"]
            types = [array.dtype.name for array in (genes, ends, values)]
            if types != ["int8", "int64", "float32"] or not np.isfinite(values).all():
                raise ValueError("types or values")
            if genes.ndim != 2 or ends.shape != (len(genes),) or values.shape != (ends[-1],):
                raise ValueError("shapes")
            if (np.diff(ends, prepend=0) <= 0).any():
                raise ValueError("ends")
            space.decode(genes)
            parts = tuple(np.array(part) for part in np.split(values, ends[:-1]))
        except OSError as error:
            raise UserError(f"{place}: cannot be read: {error.strerror or error}") from None
        except (SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
            raise UserError(f"{place}: no statistics of subnets of {space.name} ({str(error)[:80]}); {ADVICE}") from None
        return cls(space, np.array(genes), parts)

    def __len__(self) -> int:
        return len(self.values)


def stored(genes: Genes, values: Sequence[Values]) -> bytes:
    """The content of a file of the statistics of some subnets."""
    ends = np.cumsum([len(part) for part in values]).astype(np.int64)
    return vouch_for_tensors(save({"genes": np.ascontiguousarray(genes), "ends": ends, "values": np.concatenate(values)}))
