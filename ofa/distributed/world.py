"""Several processes (ranks) that work on one run, and the communication between them.

`torchrun` starts the processes and numbers them by environment variables; `join` connects them: NCCL between GPUs, gloo
between CPUs and for messages. Without `torchrun` a process is `ALONE`: every method below then works as with one
rank, without communication, and torch is not imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ofa.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Item = TypeVar("Item")
Result = TypeVar("Result")

STEP_TIMEOUT = timedelta(minutes=10)
"""Longest wait in a reduction of tensors, where every rank is at the same step."""
MESSAGE_TIMEOUT = timedelta(days=1)
"""Longest wait for a message, because other ranks may still be measuring. A rank that ends closes its connection, so the
others notice at once."""
ITEMS_PER_ROUND = 8
"""Items of `World.map` that each rank computes before results are exchanged: few enough to lose little in a kill, enough
that a slow item does not keep the other ranks waiting."""


@dataclass(frozen=True)
class Share:
    """One of the equal parts into which ranks divide a batch."""

    index: int = 0
    parts: int = 1

    def of(self, count: int) -> slice:
        """The slice of a batch of `count` images that is this part; `count` is a multiple of `parts`."""
        size = count // self.parts
        return slice(self.index * size, (self.index + 1) * size)


WHOLE = Share()


@dataclass(frozen=True)
class World:
    """One of the `size` ranks of a run. All ranks must call the methods that communicate, in the same order."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Rank among the processes of this machine."""
    messages: Any = None
    """Process group for messages; gradients use torch's default group."""

    @property
    def first(self) -> bool:
        """True for rank 0, which writes files and prints."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """This rank's share of every batch."""
        return Share(self.rank, self.size)

    def check_batch(self, batch_size: int) -> None:
        """Raise `UserError` unless a batch divides into equal parts."""
        if batch_size % self.size:
            raise UserError(
                f"batch_size {batch_size} does not divide by the {self.size} processes; it is the batch of all together"
            )

    # -- messages ------------------------------------------------------------------------------------------------------

    def gather(self, value: Item) -> list[Item]:
        """The values of all ranks, in order of rank; on every rank."""
        values: list[Any] = [value]
        if self.size > 1:
            import torch.distributed as dist

            values *= self.size
            with self._contact():
                dist.all_gather_object(values, value, group=self.messages)
        return values

    def broadcast(self, value: Item) -> Item:
        """The value of rank 0, on every rank."""
        values: list[Any] = [value]
        if self.size > 1:
            import torch.distributed as dist

            with self._contact():
                dist.broadcast_object_list(values, src=0, group=self.messages)
        return values[0]  # type: ignore[no-any-return]

    def once(self, function: Callable[[], Result]) -> Result:
        """Call `function` on rank 0 alone and return its result on every rank; all ranks raise its `UserError`."""
        if self.size == 1:
            return function()
        found: Result | UserError | None = None
        if self.first:
            try:
                found = function()
            except UserError as error:
                found = error
        found = self.broadcast(found)
        if isinstance(found, UserError):
            raise found
        return found  # type: ignore[return-value]

    def any_later(self, value: bool) -> Callable[[], bool]:
        """Begin an all-reduce that tells whether `value` is true on any rank; the returned function waits for the result."""
        if self.size == 1:
            return lambda: value
        import torch
        import torch.distributed as dist

        flag = torch.tensor([int(value)])
        with self._contact():
            begun = dist.all_reduce(flag, dist.ReduceOp.MAX, group=self.messages, async_op=True)

        def answer() -> bool:
            with self._contact():
                begun.wait()
            return bool(flag.item())

        return answer

    def wait(self) -> None:
        """Wait until all ranks have called this."""
        self.gather(None)

    @contextmanager
    def agree(self) -> Iterator[None]:
        """Run a block that may raise `UserError` on any rank. If one does, every rank exits with code 2.

        Do not put a collective call after code that can fail on a single rank: the other ranks would hang.

        Raises:
            UserError: on rank 0, which prints it, with the message of the lowest rank; on the others `SystemExit`.
        """
        if self.size == 1:
            yield
            return
        mistake = None
        try:
            yield
        except UserError as error:
            mistake = str(error)
        for message in self.gather(mistake):
            if message is not None:
                raise UserError(message) if self.first else SystemExit(2)

    # -- work ----------------------------------------------------------------------------------------------------------

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `function` of every item, in order, on every rank; each rank computes a part. All ranks give the same items.

        Raises:
            UserError: `function` raises one on any rank; see `agree`.
        """
        if self.size == 1:
            yield from map(function, items)
            return
        for some in _rounds(list(items), ITEMS_PER_ROUND * self.size):
            own: list[Result] = []
            with self.agree():
                own += map(function, some[self.rank :: self.size])
            parts = self.gather(own)
            yield from (parts[place % self.size][place // self.size] for place in range(len(some)))

    def lead(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`map` called by rank 0, which alone knows the items, while the other ranks `follow`."""
        if self.size == 1:
            yield from map(function, items)
            return
        for some in _rounds(list(items), ITEMS_PER_ROUND * self.size):
            yield from self.map(function, self.broadcast(some))

    @contextmanager
    def leading(self) -> Iterator[None]:
        """A block in which rank 0 may `lead`; the other ranks stop following at its end, and at a `UserError`.

        Any other exception ends this rank, perhaps inside a collective call; the others then fail with `LostContactError`.
        """
        try:
            yield
        except LostContactError:
            raise
        except UserError:
            self.broadcast(None)
            raise
        self.broadcast(None)

    def follow(self, function: Callable[[Item], object]) -> None:
        """Serve rank 0: compute this rank's share of every `lead` call until `leading` ends."""
        some: Sequence[Item] | None = None
        while (some := self.broadcast(some)) is not None:
            with suppress(SystemExit):  # from `agree`: rank 0 prints the error, then ends `leading`
                for _ in self.map(function, some):
                    pass

    # -- tensors -------------------------------------------------------------------------------------------------------

    @contextmanager
    def averaging(self, net: nn.Module, loss: Tensor, total: Tensor) -> Iterator[None]:
        """A block that runs the backward pass of `loss`; it leaves all gradients of `net`, and `total`, as means over ranks.

        The graph of `loss`, and the parameters that have gradients already, must be the same on every rank.
        """
        if self.size == 1:
            yield
            return
        from ofa.distributed.reduction import averaged_after, averaged_during

        if total.device.type == "cuda":
            block = averaged_during(net, loss, total, self.size, self._contact)
        else:
            block = averaged_after(net, total, self.size, self._contact)
        with block:
            yield

    def broadcast_weights(self, net: nn.Module) -> None:
        """Copy parameters and statistics of rank 0 to all ranks; the same sum may round differently on another GPU."""
        if self.size == 1:
            return
        import torch
        import torch.distributed as dist

        from ofa.distributed.reduction import views

        values = [value.detach() for value in net.state_dict(keep_vars=True).values() if value.is_floating_point()]
        flat = torch.cat([value.reshape(-1) for value in values])
        with self._contact():
            dist.broadcast(flat, src=0)
        torch._foreach_copy_(values, views(flat, values))

    def stack(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks, stacked along a new first dimension; no gradient flows through it."""
        import torch
        import torch.distributed as dist

        tensors = [torch.empty_like(tensor) for _ in range(self.size)]
        with self._contact():
            dist.all_gather(tensors, tensor)
        return torch.stack(tensors)

    @contextmanager
    def _contact(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            cause = str(error).splitlines()[0].rpartition("] ")[2]
            raise LostContactError(
                f"process {self.rank} of {self.size} lost contact with another ({cause}); "
                "the same command resumes at the last checkpoint, with any number of processes"
            ) from None


class LostContactError(UserError):
    """Another rank ended or cannot be reached."""


ALONE = World()


@contextmanager
def join(device: torch.device) -> Iterator[World]:
    """Connect to the other processes that `torchrun` started, for the length of the block; `ALONE` where there are none.

    Args:
        device: device of this process, from `choose_device`; each has its own GPU, or all are on CPUs.

    Raises:
        UserError: the other processes cannot be reached.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    import torch.distributed as dist

    rank = int(os.environ["RANK"])
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=STEP_TIMEOUT)
        messages = dist.new_group(backend="gloo", timeout=MESSAGE_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"process {rank} of {size}: the others cannot be reached: {str(error).splitlines()[0]}") from None
    try:
        yield World(rank, size, int(os.environ.get("LOCAL_RANK", "0")), messages)
    finally:
        dist.destroy_process_group()


def processes_here() -> int:
    """Number of processes of this run on this machine, which share its CPUs."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _rounds(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
