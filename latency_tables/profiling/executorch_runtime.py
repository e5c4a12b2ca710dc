"""ExecuTorch on the CPU, with its XNNPACK backend: blocks and networks are lowered as `ofa export` lowers networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latency_tables.on_device.timing import EMPTY_MODEL, Call, Item, Timed, clocked, repeated
from latency_tables.profiling.plan import SpacePlan
from ofa.deploy.formats.catalogue import check_installed, find_format, version_of
from ofa.deploy.formats.executorch_format import lowered, opened
from ofa.deploy.formats.format import Deployable
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.errors import UserError


class ExecutorchRuntime:
    """Runs .pte programs on one thread. Feature maps between blocks are channels last, as within a lowered network.

    An item is lowered when it is opened first, which takes a second or two; the programs stay in memory until the end.
    """

    def __init__(self, plan: SpacePlan, threads: int | None, programs: Mapping[str, bytes] | None = None) -> None:
        """`programs` are those of whole networks that are there already, by item.

        `UserError` where executorch is missing, or for several threads.
        """
        import torch

        check_installed(find_format("executorch"))
        if threads not in (None, 1):
            raise UserError(f"threads is {threads}; ExecuTorch is measured on one thread")
        self.threads = 1
        self._torch: Any = torch
        self._plan = plan
        self._generator = torch.Generator().manual_seed(plan.settings.seed)
        self._programs = dict(programs or {})

    @property
    def name(self) -> str:
        """Name and version."""
        return f"ExecuTorch {version_of('executorch')}, XNNPACK"

    def open(self, item: Item) -> Call:
        """A function from one tensor to another."""
        name = f"{item.model}@{item.size}"
        if name not in self._programs:
            self._programs[name] = self._lowered(name, item)
        part = item.model == EMPTY_MODEL or name in self._plan.blocks
        return _Opened(opened(self._programs[name]), of_images=not part)

    def feed(self, item: Item, batch: int) -> Any:
        """Random feature maps."""
        x = self._torch.randn(batch, item.channels, item.size, item.size, generator=self._generator)
        return x if item.channels == 1 else x.to(memory_format=self._torch.channels_last)  # of one channel, both look alike

    def time(self, calls: Sequence[Call], x: Any, runs: int) -> Timed:
        """Time calls; see `Runtime.time`."""
        steps = [step for call in calls for step in (call.take, call.infer)]  # type: ignore[attr-defined]
        timed = clocked(steps, x, runs)
        return timed._replace(times_ms=timed.times_ms[1::2])

    def repeat(self, call: Call, x: Any, seconds: float) -> None:
        """Repeat a call; see `Runtime.repeat`."""
        repeated(call.infer, call.take(x), seconds)  # type: ignore[attr-defined]

    def _lowered(self, name: str, item: Item) -> bytes:
        """The program of a block with random weights; of a whole network, as exported: with images of uint8."""
        from ofa.deploy.formats.camera_net import CameraNet
        from ofa.nets.plain import build_block, build_net, fold_batch_norm

        sample = self.feed(item, self._plan.settings.batch)
        if item.model == EMPTY_MODEL:
            return lowered(self._torch.nn.ReLU(), sample)
        if name in self._plan.blocks:
            block = build_block(self._plan.blocks[name], self._generator).eval()
            fold_batch_norm(block)
            return lowered(block, sample)
        space, subnet = self._plan.space, self._plan.networks[name]
        image = ImageInput(item.size, (0.5,) * item.channels, (0.25,) * item.channels)
        source = Deployable(space, subnet, build_net(space, subnet, self._generator).eval(), image, {})
        return lowered(CameraNet(source, as_uint8=True).eval(), _pixels(sample))


class _Opened:
    """A program; a call is `take` and `infer`."""

    def __init__(self, program: Any, of_images: bool) -> None:
        self._program = program
        self._execute = program.load_method("forward").execute
        self._of_images = of_images

    def take(self, x: Any) -> Any:
        """Feature maps as the program takes them; for a whole network, as pixels."""
        return _pixels(x) if self._of_images else x

    def infer(self, x: Any) -> Any:
        """Run it."""
        return self._execute([x])[0]

    def __call__(self, x: Any) -> Any:
        """Both."""
        return self.infer(self.take(x))


def _pixels(x_BCHW: Any) -> Any:
    """Uint8[batch, height, width, channels]."""
    pixels = (x_BCHW.abs() * 50).clamp(0, 255).byte().permute(0, 2, 3, 1)
    return pixels.new_empty(pixels.shape).copy_(
        pixels
    )  # unlike `contiguous()`, with the usual strides of dimensions of size 1
