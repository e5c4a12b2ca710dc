"""A list of many paths in little memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt


class PathList(Sequence[str]):
    """Paths as one array of bytes, with the start and end of each; made by `of`.

    A list of strings could not be shared with forked workers: reference counting writes to the memory of each string, so
    every worker would end up with a copy of all of them.
    """

    def __init__(self, text: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> None:
        self._text, self._starts, self._ends = text, starts, ends

    @classmethod
    def of(cls, paths: Iterable[str]) -> PathList:
        """A list of these paths, in the same order."""
        encoded = [os.fsencode(path) for path in paths]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        ends = np.cumsum(lengths)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends - lengths, ends)

    def take(self, places: npt.NDArray[np.int64]) -> PathList:
        """The paths at the given indices, in that order."""
        return PathList(self._text, self._starts[places], self._ends[places])

    def __iter__(self) -> Iterator[str]:
        return (self[place] for place in range(len(self)))

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> PathList: ...

    def __getitem__(self, place: int | slice) -> str | PathList:
        if isinstance(place, slice):
            return PathList(self._text, self._starts[place], self._ends[place])
        return os.fsdecode(self._text[self._starts[place] : self._ends[place]].tobytes())
