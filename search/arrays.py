"""Types of the arrays that a search handles; gene matrices are `ofa.space.search_space.Genes`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from latency_tables.arrays import Floats as Floats
from latency_tables.arrays import Mask as Mask

Indices = npt.NDArray[np.int64]
