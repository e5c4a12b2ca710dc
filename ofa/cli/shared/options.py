"""Shared by the verbs that search a run: options, opening a predictor, and measuring subnets with the run's log."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from latency_tables.units import check_unit
from ofa.distributed.world import ALONE, World
from ofa.errors import UserError
from ofa.files.atomic import sha256
from ofa.files.bundle import BundlePath, Place
from ofa.files.names import check_name, made_name
from ofa.files.vouched import read_vouched_json
from ofa.measure.accuracy import ACCURACIES, TOP1, AccuracyMetric, accuracy_named

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from latency_tables import Costs, Platform
    from ofa.data.record import DataRecord
    from ofa.measure.evaluator import SubnetEvaluator
    from ofa.measure.memory import MemoryLimit
    from ofa.runs.run_directory import RunDirectory
    from ofa.runs.run_files import RunFiles
    from ofa.space.search_space import Genes, SearchSpace
    from search.arrays import Floats
    from search.measurements.log import MeasurementLog
    from search.predictors.protocols import Predictor
    from search.reports.card import Accuracy

WAIT_S = 600.0
"""Seconds to wait for another verb that briefly writes to the same file or folder."""


def add_measuring_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every verb that measures subnets."""
    parser.add_argument("--images", type=int, metavar="N", help="measure on only N validation images (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... (default: cuda where there is one)")


def add_accuracy_argument(parser: argparse.ArgumentParser, default: str) -> None:
    """The metric of accuracy by which subnets are ranked."""
    parser.add_argument("--accuracy", choices=ACCURACIES, help=f"metric that ranks subnets (default: {default})")


def check_at_least(args: argparse.Namespace, **least: int) -> None:
    """Raise `UserError` for a whole-number option below its least value, given by name."""
    for name, bound in least.items():
        value = getattr(args, name)
        if value is not None and value < bound:
            raise UserError(f"--{name} is {value}; must be at least {bound}")


def check_subnet_out(out: Path) -> None:
    """Raise `UserError` unless a subnet may be written to `out`: a new folder, an empty one, or one that holds a subnet."""
    from ofa.deploy.subnet_directory import is_replaceable

    if not is_replaceable(out):
        raise UserError(f"--out is {out}, which exists and holds no subnet; give another folder")
    nearest = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise UserError(f"--out is {out}, but {nearest} is no folder that can be written to; give another")


def answerable(run: RunFiles) -> Genes | None:
    """Subnets that a run has batch-norm statistics for, int8[n, genes]; None: all, as it has images to recalibrate on."""
    statistics = None if run.images_path("train").exists() else run.statistics()
    return None if statistics is None else statistics.genes


def written_beside(run: RunFiles, name: str) -> Path:
    """Default folder of a query's answer, in its run; raises `UserError` for a bundle, which is read-only."""
    if isinstance(run.path, BundlePath):
        raise UserError(f"--out is missing: {run.path} is a bundle, which is read-only; say where to write with --out")
    return run.path / "queries" / name


def platform_file(args: argparse.Namespace) -> Path:
    """The file to which a platform made of timings is written; raises `UserError` where an option is not allowed."""
    from latency_tables.blocks.memory import BYTES

    out = Path(args.out)
    if out.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out is {args.out}; must end in .yaml, so that it can be loaded")
    check_unit(args.unit)
    if args.precision is not None and args.precision not in BYTES:
        raise UserError(f"--precision is {args.precision}; allowed are {', '.join(BYTES)}")
    check_at_least(args, batch=1, threads=1)
    return out


def platform_name(given: str | None, out: Path) -> str:
    """The name of a platform written to `out`: the one given (`UserError` where it is not allowed), or the file's."""
    if given is None:
        return made_name(out.stem)
    try:
        check_name(given, "--name")
    except ValueError as error:
        raise UserError(str(error)) from None
    return given


def platform_costs(platform: Platform, space: SearchSpace) -> Costs:
    """Costs of the space's subnets on a platform; their warnings go to standard error."""
    costs = platform.costs(space)
    warn(costs)
    return costs


def warn(costs: Costs) -> None:
    """Write the warnings of costs to standard error."""
    for warning in costs.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def weights_digest(run: RunFiles) -> str:
    """Digest that identifies a run's weights in its measurements and its predictor."""
    return sha256(run.weights_path)[:16]


def open_predictor(run: RunFiles, wanted: str | None = None) -> tuple[Predictor, dict[str, Any], AccuracyMetric]:
    """The run's predictor, its facts, and the metric of accuracy that it predicts, which must be `wanted` if that is given.

    Raises:
        UserError: there is none, or it was fitted to other weights, another space or another metric.
    """
    from search.predictors.storage import load_predictor, predictor_file

    file = predictor_file(run.path)
    facts = read_vouched_json(file, "fit the predictor again")
    predictor = load_predictor(run.path, run.space)
    weights = weights_digest(run)
    if facts.get("weights") != weights:
        raise UserError(
            f"{file}: fitted to weights {facts.get('weights')}; the run has {weights} now; "
            f"run `ofa predictor {run.path}` again"
        )
    accuracy = accuracy_named(facts.get("accuracy", TOP1.name), str(file))  # versions before 0.2 did not say
    if wanted is not None and wanted != accuracy.name:
        raise UserError(
            f"{file}: fitted to {accuracy.words}; asked for is {ACCURACIES[wanted].words}: "
            f"run `ofa predictor {run.path} --accuracy {wanted}`"
        )
    return predictor, facts, accuracy


@dataclass
class Measured:
    """Measures subnets of a run on validation data; subnets in the run's log are not measured again.

    On the data set where it is here, else on the validation images that the run keeps; where there are neither, only what
    was measured before is known.
    """

    run: Place
    space: SearchSpace
    evaluator: SubnetEvaluator
    log: MeasurementLog
    show: bool
    where: str
    """Origin of the images, to follow the words "validation images" in messages."""
    world: World = ALONE
    split: str = "validation"

    @classmethod
    def open(
        cls,
        run: RunDirectory,
        images: int | None,
        device: str,
        show: bool,
        world: World = ALONE,
        accuracy: AccuracyMetric = TOP1,
        memory: MemoryLimit | None = None,
    ) -> Measured:
        """Load supernet and images; `show`: a progress bar on stderr. The ranks of `world` share the subnets.

        Raises:
            UserError: weights or measurements are damaged, the data are others, or the images are too few for the metric.
        """
        from ofa.distributed.devices import choose_device
        from ofa.measure.memory import NO_LIMIT
        from ofa.runs.evaluator import evaluator_of_run
        from search.measurements.log import MeasurementLog

        evaluator = evaluator_of_run(run, choose_device(device), images, memory=memory or NO_LIMIT)
        path = run.path / "predictor" / "measurements.jsonl"
        labels: npt.NDArray[np.int64] | None
        if "validation" in evaluator.data.sizes:
            count, labels = evaluator.size("validation"), evaluator.labels("validation")
            where = f" kept in {run.path.name}" if evaluator.data is evaluator.recalibration else ""
        else:
            count, labels = _known_labels(evaluator.data.record, images)
            where = ", before the run came here"
        log = MeasurementLog.open(path, run.space, weights_digest(run), count, accuracy, labels)
        return cls(run.path, run.space, evaluator, log, show, where, world)

    @cached_property
    def on_test(self) -> Self:
        """The same on test images (as many as `images` of `open` allows); measurements are kept in memory alone.

        Raises:
            UserError: no test images are here, or they are too few for the metric.
        """
        from search.measurements.log import MeasurementLog

        count, labels = self.evaluator.size("test"), self.evaluator.labels("test")
        log = MeasurementLog(None, self.space, self.log.weights, count, self.log.accuracy, labels)
        log.check_classes()
        return replace(self, log=log, split="test")

    @property
    def can_measure(self) -> bool:
        """Whether the images are here."""
        return self.split in self.evaluator.data.sizes

    @property
    def images(self) -> int:
        """Images of each measurement."""
        return self.log.images

    def top1(self, genes: Genes) -> Floats:
        """Measured accuracy of canonical rows, float64[n]; unmeasured rows are measured now, with the run locked.

        Raises:
            UserError: a row is not measured yet, and no validation images are here.
        """
        if all(self.log.has(genes)):
            return self.log.values(genes)

        from ofa.runs.run_files import locked_run

        self.evaluator.size(self.split)  # raises where there is nothing to measure on
        bar = _bar if self.show else None
        if self.log.path is None or isinstance(self.run, BundlePath):  # nothing is written
            return self.log.top1(genes, self._measure, bar, self.world.lead)
        with locked_run(self.run, wait_s=WAIT_S):
            self.log = self.log.reopened()  # another process may have measured meanwhile
            return self.log.top1(genes, self._measure, bar, self.world.lead)

    def error_of(self, row: Genes) -> float | None:
        """Standard error of the measured accuracy of one row, int8[1, genes]; None where it cannot be estimated."""
        error = float(self.log.standard_error(row)[0])
        return None if isnan(error) else error

    def known(self, genes: Genes) -> npt.NDArray[np.bool_]:
        """For each row, whether its top-1 is known or can be measured, bool[n]."""
        import numpy as np

        return np.array(self.log.has(genes)) | self.can_measure

    def told(self, accuracy: Accuracy, row: Genes, candidates: int) -> Accuracy:
        """`accuracy` with the measurement of one row, int8[1, genes], which is the best of `candidates`."""
        return replace(
            accuracy,
            measured=float(self.top1(row)[0]),
            standard_error=self.error_of(row),
            images=self.images,
            where=self.where,
            candidates=candidates,
        )

    def follow(self) -> None:
        """Measure this rank's share of the subnets that rank 0 asks for, until it ends."""
        self.world.follow(self._measure)

    def _measure(self, row: Genes) -> npt.NDArray[np.bool_]:
        return self.evaluator.correct(self.space.decode(row)[0], self.split)


def printer(args: argparse.Namespace) -> Callable[[str], None]:
    """A function that prints text for users, or nothing with --json."""

    def say(text: str = "") -> None:
        if not args.json:
            print(text)

    return say


def _known_labels(record: DataRecord, images: int | None) -> tuple[int, npt.NDArray[np.int64] | None]:
    """Number of validation images of earlier measurements, from a run's record, and their labels in any order if known."""
    import numpy as np

    counts = list(record.images.get("validation", {}).values())
    if images is not None and images < sum(counts):
        return images, None
    return sum(counts), np.repeat(np.arange(len(counts)), counts)


def _bar(rows: Genes) -> Iterable[Genes]:
    from ofa.progress_bar import progress_bar

    bar: Iterable[Genes] = progress_bar(rows, desc="measuring", unit="subnet")
    return bar
