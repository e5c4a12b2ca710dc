"""The subject of `ofa footprint`: a subnet of a run, or one that was queried, or numbers alone."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.cli.life.parts import Inference
from ofa.cli.life.recorded_label import recorded_label
from ofa.cli.shared.labels import energy_of, label_of, own_predictor
from ofa.cli.shared.recordings import recorded
from ofa.errors import UserError
from ofa.files.bundle import open_place
from ofa.footprint.checks import number
from ofa.footprint.label_entry import Top1
from ofa.measure.accuracy import TOP1
from ofa.runs.spent import work_of_run
from ofa.runs.zoo import find_run

if TYPE_CHECKING:
    from latency_tables import Costs, Platform
    from ofa.energy.account import Booked
    from ofa.energy.recordings.inference import InferenceEnergy
    from ofa.footprint.energy_label import Bounds
    from ofa.runs.run_files import RunFiles
    from ofa.space.search_space import Genes, SearchSpace

KINDS = {"measured": "estimated", "calibrated": "estimated", "modelled": "modelled"}
"""Kind of an inference's energy, by the kind of the platform: nobody has metered this subnet."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """A subnet, with what is known of its run."""

    name: str
    space: SearchSpace
    genes: Genes
    """The subnet, int8[1, genes]."""
    run: RunFiles | None
    """The run that it is of; None: it is not here."""
    card: dict[str, Any] | None
    """The card of a queried subnet."""

    def top1(self, platform: str) -> Top1:
        """Its top-1: that of its card for a platform, else what the run's predictor says."""
        if self.card is not None:
            return _top1_of(self.card, platform)
        predictor = None if self.run is None else own_predictor(self.run)
        value = None if predictor is None else float(predictor.top1(self.genes)[0])
        return Top1(value=value, measured=False)

    def label(self, platform: Platform, bounds: Bounds, found: InferenceEnergy | None = None) -> dict[str, Any]:
        """The energy label on a platform, in these classes; `found`: energy that a meter recorded, in place of its own."""
        predictor = None if self.run is None else own_predictor(self.run)
        costs = platform.costs(self.space)
        top1 = self.top1(platform.name)
        label = label_of(self.space, self.run, platform, costs, self.genes, top1, predictor, bounds)
        return label if found is None else recorded_label(label, top1, found, bounds)


def open_subject(args: argparse.Namespace) -> Subject | None:
    """The subnet that is asked about; None where no RUN and no SUBNET_DIR is given."""
    from ofa.deploy.architecture_file import named_subnet
    from ofa.deploy.subnet_directory import read_card, read_subnet
    from ofa.runs.run_files import RunFiles

    if args.what is None:
        for option in ("run", "subnet"):
            if getattr(args, option) is not None:
                raise UserError(f"--{option} goes with a RUN or SUBNET_DIR, and there is none")
        return None
    folder = Path(args.what)
    if (folder / "subnet.json").exists():
        if args.subnet is not None:
            raise UserError(f"--subnet goes with a RUN; {folder} is a subnet")
        space, subnet = read_subnet(folder)
        own = folder.resolve().parent.parent
        place = args.run or (str(own) if (own / "recipe.yaml").exists() else None)
        run = None if place is None else RunFiles.open(place)
        if run is not None and run.space.fingerprint != space.fingerprint:
            raise UserError(
                f"{folder}: its space has fingerprint {space.fingerprint}; the run {run.path} has {run.space.fingerprint}"
            )
        return Subject(name=str(folder), space=space, genes=space.encode(subnet), run=run, card=read_card(folder))
    if args.run is not None:
        raise UserError(f"--run goes with a SUBNET_DIR; {args.what} is none (no subnet.json in it)")
    run = RunFiles.open(args.what)
    word = args.subnet or "largest"
    genes = run.space.encode(named_subnet(word, run.space))
    return Subject(name=f"{word} subnet of {run.path.name}", space=run.space, genes=genes, run=run, card=None)


def work_of(args: argparse.Namespace, subject: Subject | None) -> list[Booked]:
    """Entries booked by the run, and by the failed runs that count too."""
    work = [] if subject is None or subject.run is None else work_of_run(subject.run.path)
    own = None if subject is None or subject.run is None else str(subject.run.path)
    known = set() if own is None else {str(Path(own).resolve())}
    for word in args.failed:
        place = open_place(find_run(word))
        name = str(Path(str(place)).resolve())
        if name in known:
            raise UserError(f"--failed is {word}, which counts already; give each run once")
        known.add(name)
        work += work_of_run(place)
    return work


def inference_of(args: argparse.Namespace, subject: Subject | None, platform: Platform | None) -> Inference:
    """Energy and time of an inference: as a meter recorded them, or as given, else those of the subnet on the platform."""
    found = recorded(args)
    if found is not None:
        for option in ("inference_mj", "inference_ms"):
            if getattr(args, option) is not None:
                raise UserError(f"--{option.replace('_', '-')} and --recording are both given; give one of them")
        return Inference(
            joules=found.joules,
            p90_joules=found.high_j,
            seconds=found.seconds,
            kind="metered",
            source=found.source,
            recorded=found,
        )
    ms = None if args.inference_ms is None else number("--inference-ms", args.inference_ms, above=0)
    seconds = None if ms is None else ms / 1000
    if args.inference_mj is not None:
        joules = number("--inference-mj", args.inference_mj) / 1000
        return Inference(joules=joules, p90_joules=None, seconds=seconds, kind="estimated", source="as given")
    if platform is None or subject is None:
        raise UserError(
            "--platform is missing, or RUN; give both, or the energy of an inference with --inference-mj or --recording"
        )
    costs = platform.costs(subject.space)
    if seconds is None and costs.why_unknown("latency_ms") is None:
        seconds = float(costs.latency_ms(subject.genes)[0]) / 1000 / platform.batch
    return _on_platform(costs, subject, platform, seconds)


def _on_platform(costs: Costs, subject: Subject, platform: Platform, seconds: float | None) -> Inference:
    energy = energy_of(costs, subject.genes)
    if energy.joules is None:
        why = f"{platform.name}: {costs.why_unknown('energy_mj')}; --inference-mj gives it"
        return Inference(joules=None, p90_joules=None, seconds=seconds, kind="unknown", source=why)
    source = f"{platform.name}, batch {platform.batch}: {costs.source('energy_mj')} ({energy.uncertainty})"
    return Inference(
        joules=energy.joules,
        p90_joules=energy.joules * energy.high,
        seconds=seconds,
        kind=KINDS[platform.kind],
        source=source,
    )


def _top1_of(card: dict[str, Any], platform: str) -> Top1:
    """The top-1 of a card: of its label for the platform, else of its figures."""
    from search.reports.card import measured_name

    for entry in card.get("labels", []):
        if entry["platform"] == platform:
            return Top1(
                value=entry["top1"],
                measured=entry["top1_measured"],
                standard_error=entry["top1_standard_error"],
                images=entry["images"],
                numerics=entry["top1_numerics"],
            )
    values = {figure["name"]: figure["value"] for figure in card["figures"]}
    measured = values.get(measured_name(TOP1))
    value = measured if measured is not None else values.get(f"{TOP1.label}, validation (predicted)")
    return Top1(value=None if value is None else value / 100, measured=measured is not None)
