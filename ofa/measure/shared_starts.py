"""Outputs of first blocks that several networks share, computed once for the same images.

Random subnets of a supernet differ little at their start: the stem and fixed blocks are the same in all, and the first
elastic block, often the most expensive of the net, has only as many versions as one block has choices.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ofa.measure.fast_inference import products_behind_pools, speed_up
from ofa.measure.recalibration import recalibrate_batch_norm
from ofa.nets.plain import Net
from ofa.space.search_space import SearchSpace
from ofa.space.shapes import walk_blocks
from ofa.space.subnet import Subnet

PIECES_SHARED = 4  # pieces at the start of a net whose outputs are kept; later ones are rarely needed again


@dataclass(frozen=True)
class ImagesSeen:
    """Inputs of a piece (stem, block or head) of a net, in batches: for recalibration and for classification."""

    recalibration: Iterable[Tensor]
    images: Iterable[Tensor]


class SharedStarts:
    """Classifies images with nets of one space, and caches outputs of their first pieces for nets with equal weights there.

    Weights are compared by digest, so outputs are not reused after the supernet was trained further.

    Args:
        limit_bytes: most bytes of all kept outputs, on the images' device. The least recently used are dropped; outputs of a
            piece that would take more than a quarter are not kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._kept: OrderedDict[bytes, ImagesSeen] = OrderedDict()

    def clear(self) -> None:
        """Drop all outputs."""
        self._kept.clear()

    def bytes_kept(self) -> int:
        """Bytes of all kept outputs."""
        return sum(map(_size, self._kept.values()))

    def predictions(self, net: Net, seen: ImagesSeen, source: str, ends: Sequence[int]) -> Tensor:
        """Recalibrate a net and classify images, int64[images]; the net can only be evaluated afterwards.

        Equal names `source` mean equal images. Outputs are kept after the numbers of pieces in `ends`, ascending (see
        `pieces`).
        """
        whole = pieces(net)
        starts = [nn.Sequential(*whole[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
        keys = [source.encode()]
        for start in starts:
            keys.append(_digest(keys[-1], start))
        known = next((i for i in range(len(starts), 0, -1) if keys[i] in self._kept), 0)
        if known:
            self._kept.move_to_end(keys[known])
            seen = self._kept[keys[known]]
        for start, key in zip(starts[known:], keys[known + 1 :], strict=True):
            recalibration = _prepare(start, seen)
            seen = ImagesSeen(recalibration, [start(batch) for batch in seen.images])
            self._keep(key, seen)
        rest = nn.Sequential(*whole[ends[-1] if ends else 0 :])
        _prepare(rest, seen)
        return torch.cat([rest(batch).argmax(1) for batch in seen.images])

    def _keep(self, key: bytes, seen: ImagesSeen) -> None:
        self._kept[key] = seen
        while self.bytes_kept() > self.limit_bytes:
            self._kept.popitem(last=False)

    def ends(self, space: SearchSpace, subnet: Subnet, images: int) -> list[int]:
        """The numbers of first pieces of a subnet whose output for `images` images is small enough to be cached."""
        outputs = [shape.main[-1] for shape in walk_blocks(space, subnet)][:PIECES_SHARED]
        sizes = [4 * images * output.out_channels * output.out_size**2 for output in outputs]
        return [i for i, size in enumerate(sizes, start=1) if size <= self.limit_bytes // 4]


def pieces(net: Net) -> list[nn.Module]:
    """A net's stem, blocks and head, whose composition is the net, in the order of `walk_blocks`."""
    return [net.stem, *(block for stage in net.stages for block in stage.children()), net.head]


def _prepare(piece: nn.Module, seen: ImagesSeen) -> list[Tensor]:
    """Recalibrate a piece and speed it up (it can then only be evaluated); returns its outputs for recalibration images."""
    products_behind_pools(piece)
    outputs = recalibrate_batch_norm(piece, seen.recalibration)
    speed_up(piece.eval())
    return outputs


def _digest(before: bytes, module: nn.Module) -> bytes:
    digest = hashlib.blake2b(before, digest_size=16)
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.digest()


def _size(seen: ImagesSeen) -> int:
    return sum(batch.numel() * batch.element_size() for batch in (*seen.recalibration, *seen.images))
