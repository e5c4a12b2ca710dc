"""The training loop over all phases of a recipe; `ofa.training.step` has a single step.

Progressive shrinking (Cai et al., 2020, section 3.3) first trains the largest net, which becomes the teacher. Each later
phase continues with the same weights and opens more choices. The sandwich rule (Yu et al., 2020) is one phase with
everything open. A run can be killed at any moment and resumes at the last checkpoint; on a CPU, with the same bits as
without the kill.
"""

from __future__ import annotations

import time
from math import isfinite
from typing import Any

import torch

from ofa.data.balance import NONE
from ofa.distributed.devices import check_precision
from ofa.distributed.world import ALONE, World
from ofa.energy.account import CHECKPOINT, EVALUATION, TRAINING
from ofa.energy.choice import MACHINE, EnergyChoice
from ofa.energy.ledger import Ledger
from ofa.errors import UserError
from ofa.files.bundle import as_path
from ofa.measure.accuracy import BALANCED, TOP1
from ofa.measure.evaluator import SubnetEvaluator
from ofa.measure.memory import NO_LIMIT, WITHOUT_STARTS, MemoryLimit
from ofa.nets.extraction import extract
from ofa.nets.supernet import Supernet
from ofa.runs.recipe import Phase, opened_spaces
from ofa.runs.run_directory import RunDirectory, save_weights
from ofa.runs.run_files import locked_run
from ofa.training.checkpoint import Checkpoint, Position, flatten, load_checkpoint, remove_strays, save_checkpoint, unflatten
from ofa.training.optimiser import make_optimiser, momenta, set_momenta
from ofa.training.progress import EpochSums, LateReading, MetricsLog, Progress, spent_by_rows
from ofa.training.schedule import learning_rate, resolution_of_step, subnets_of_step
from ofa.training.step import GradientStep, class_weights_of, descend, load_teacher
from ofa.training.stop_signal import StopSignal
from ofa.training.synchronised_norm import synchronise_norms
from ofa.training.transfer import start_from
from ofa.training.weight_average import WeightAverage

LOSS_EVERY_STEPS = 20
"""Steps between updates of the loss in the progress bar."""


class Trainer:
    """Trains the supernet of a run, from its last checkpoint on.

    Args:
        run: the run directory, for everything that is read or written.
        device: device to train on.
        quiet: True: no progress bar.
        world: the ranks that share each batch; rank 0 writes.
        energy: where the energy that is booked comes from.
        memory: a limit on the process, into which caches are fitted.
    """

    def __init__(
        self,
        run: RunDirectory,
        device: torch.device | str = "cpu",
        quiet: bool = False,
        world: World = ALONE,
        energy: EnergyChoice = MACHINE,
        memory: MemoryLimit = NO_LIMIT,
    ) -> None:
        self.run, self.recipe, self.space, self.world = run, run.recipe, run.space, world
        world.check_batch(self.recipe.batch_size)
        self.device = torch.device(device)
        check_precision(self.recipe.precision, self.device)
        self.quiet = quiet or not world.first
        self.stop = StopSignal(world)
        self.stopped = False
        self.data = run.data(world, write_record=True)
        self.opened = opened_spaces(run.recipe, run.space)
        self.steps_per_epoch = self.data.steps("train", self.recipe.batch_size, drop_last=True)
        if self.steps_per_epoch == 0:
            raise UserError(
                f"batch_size {self.recipe.batch_size} is more than the {self.data.sizes['train']} training images of "
                f"{self.recipe.data.source}"
            )
        fresh = torch.Generator().manual_seed(self.recipe.seed)
        net = Supernet(self.space, fresh).to(self.device)
        self.supernet: Supernet = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.recipe.zero_gamma:
            self.supernet.pass_inputs_through()
        self.start: str | None = None
        if self.recipe.init is not None and not run.has_checkpoint:  # a resumed run has weights of its own
            self.start = start_from(self.supernet, self.recipe.init, self.data.record)
        decay = self.recipe.average_decay
        self.average = WeightAverage(self.supernet, decay) if decay > 0 else None
        self.optimiser: torch.optim.Optimizer | None = None
        self.position = Position()
        self.sums = EpochSums()
        self.shown = LateReading()
        board = run.folder / "tensorboard" if self.recipe.tensorboard and world.first else None
        self.metrics = MetricsLog(as_path(run.metrics_path), board)
        evaluation = self.recipe.evaluation
        images, kept = evaluation.images, world.once(run.kept_data)
        self.memory = memory
        self.evaluator = SubnetEvaluator(
            self.result, self.data, evaluation, images, self.device, world, kept, WITHOUT_STARTS, memory
        )
        self.meter = energy.meter(str(self.device), processor=world.local_rank == 0)
        if self.recipe.synchronise_norms:
            synchronise_norms(self.supernet, world)

    @property
    def result(self) -> Supernet:
        """The supernet that is evaluated and saved: the average where the recipe averages weights, else the trained one."""
        return self.supernet if self.average is None else self.average.net

    def train(self) -> None:
        """Run what is left of the schedule, then save the supernet.

        Raises:
            UserError: another process writes to the run directory; the checkpoint is damaged; or training diverges.
        """
        with locked_run(self.run.folder, self.world), self.stop.watched():
            self._train()

    def _train(self) -> None:
        self._resume()
        total = sum(phase.total_epochs for phase in self.recipe.phases) * self.steps_per_epoch
        done = sum(phase.total_epochs for phase in self.recipe.phases[: self.position.phase]) * self.steps_per_epoch
        self.progress = Progress(total, done + self.position.step, self.quiet)
        try:
            for index in range(self.position.phase, len(self.recipe.phases)):
                self._train_phase(index)
                if self.stopped:
                    return
            if self.world.first:
                save_weights(as_path(self.run.weights_path), self.result.state_dict())
        finally:
            self.progress.close()
            self.ledger.close()
        self.world.wait()

    # -- one phase -----------------------------------------------------------------------------------------------------

    def _train_phase(self, index: int) -> None:
        self.ledger.begin(TRAINING)
        phase = self.recipe.phases[index]
        if self.position.step == 0:
            self._enter_phase(index)
        elif self.optimiser is None:
            raise AssertionError("a checkpoint inside a phase has an optimiser")
        teacher_path = self.run.folder / "teacher.safetensors"
        taught = index > 0 and phase.distill > 0 and phase.teacher == "first"
        teacher = load_teacher(teacher_path, self.space, self.device) if taught else None
        if teacher is not None and self.recipe.synchronise_norms:
            synchronise_norms(teacher, self.world)
        opened, weights = self.opened[index], class_weights_of(self.recipe, self.data, self.device)
        gradients = GradientStep.of_phase(self.supernet, self.recipe, index, opened, teacher, self.world, weights)
        for epoch in range(self._epoch(), phase.total_epochs):
            self._train_epoch(index, epoch, gradients)
            if self.stopped:
                return
        if index == 0 and self.world.first:
            save_weights(teacher_path, extract(self.result, self.space.largest()).state_dict())
        self.position, self.optimiser = Position(index + 1, 0), None
        self._save()
        self.world.wait()  # the next phase reads the teacher's file, and NCCL's collective calls do not block this process

    def _enter_phase(self, index: int) -> None:
        before, now = self.opened[max(index - 1, 0)], self.opened[index]
        if any(a.expands != b.expands for a, b in zip(before.stages, now.stages, strict=True)):
            self.supernet.sort_channels(before)
        self.world.broadcast_weights(self.supernet)
        self.optimiser = make_optimiser(self.supernet, self.recipe.optimiser)
        if self.average is not None:
            self.average.restart()

    def _train_epoch(self, index: int, epoch: int, gradients: GradientStep) -> None:
        phase, opened = self.recipe.phases[index], self.opened[index]
        assert self.optimiser is not None
        start = self.position.step - epoch * self.steps_per_epoch
        first_step = epoch * self.steps_per_epoch
        batches = self.data.batches(
            "train",
            batch_size=self.recipe.batch_size,
            resolution=lambda i: resolution_of_step(opened, self.recipe.seed, index, first_step + i),
            shuffle=True,
            augment=True,
            epoch=sum(p.total_epochs for p in self.recipe.phases[:index]) + epoch,
            seed=self.recipe.seed,
            start=start,
            drop_last=True,
            share=self.world.share,
            balance=self.recipe.balance,
            device=self.device,
        )
        scale = self.recipe.batch_size / self.recipe.lr_images
        self.supernet.train()
        self.ledger.begin(TRAINING)
        clock = time.perf_counter()  # start of the epoch, or time of the last checkpoint
        for step, (images, labels) in enumerate(batches, first_step + start):
            # Forward and backward of each subnet.
            loss = gradients(step, images, labels)

            # Clip, step, average.
            rate = learning_rate(phase, step, self.steps_per_epoch, scale)
            descend(self.supernet, self.optimiser, rate, self.recipe.optimiser.clip_norm)
            if self.average is not None:
                self.average.update(step)

            # Log, checkpoint.
            self.memory.check("a step of training")
            self.sums.loss += loss
            self.sums.steps += 1
            self.position = Position(index, step + 1)
            shown = self.shown.exchange(loss) if step % LOSS_EVERY_STEPS == 0 and not self.quiet else None
            self.progress.step(phase.name, epoch, phase.total_epochs, shown)
            self.stopped = self.stop.agreed()
            if self.stopped or time.perf_counter() - clock > self.recipe.checkpoint_seconds:
                self._end_training(CHECKPOINT)
                self._save()
                if self.stopped:
                    return
                self.ledger.begin(TRAINING)
                clock = time.perf_counter()
        self._end_training(EVALUATION)
        self._finish_epoch(index, epoch)

    # -- between epochs ------------------------------------------------------------------------------------------------

    def _finish_epoch(self, index: int, epoch: int) -> None:
        phase = self.recipe.phases[index]
        scale = self.recipe.batch_size / self.recipe.lr_images
        rate = learning_rate(phase, self.position.step - 1, self.steps_per_epoch, scale)
        row: dict[str, Any] = {
            "phase": index,
            "name": phase.name,
            "epoch": epoch,
            "epochs": phase.total_epochs,
            "learning_rate": rate,
            "subnets_per_step": phase.subnets_per_step,
            **self.sums.row(self.recipe.batch_size, self.world),
            "energy_source": self.ledger.source,
        }
        last = epoch + 1 == phase.total_epochs
        if last or (epoch + 1) % self.recipe.evaluation.every_epochs == 0:
            row |= self._measure(index, epoch)
        if self.world.first:
            self.metrics.append(row)
        accuracies = "  ".join(f"{key[5:]} {100 * row[key]:.2f}%" for key in row if key.startswith("top1_"))
        self.progress.line(f"{phase.name} epoch {epoch + 1}/{phase.total_epochs}  loss {row['loss']:.3f}  {accuracies}")
        self.sums = EpochSums()
        self.ledger.begin(CHECKPOINT)
        self._save()

    def _measure(self, index: int, epoch: int) -> dict[str, float]:
        """Validation top-1 of the largest, the smallest and one random open subnet; balanced accuracy too where a recipe
        balances classes.

        The smallest runs at the lowest resolution, the others at the highest.
        """
        opened = self.opened[index]
        named = {"largest": opened.largest(), "smallest": opened.smallest()}
        named["random"] = subnets_of_step(
            opened, Phase(name="", epochs=1, peak_lr=0), self.recipe.seed, index, epoch, opened.resolutions[-1]
        )[0]
        counts = dict(zip(named, self.evaluator.counts(list(named.values())), strict=True))
        wanted = [TOP1] if self.recipe.balance.method == NONE else [TOP1, BALANCED]
        every = {f"{metric.name}_{name}": metric.value(one) for metric in wanted for name, one in counts.items()}
        return {key: value for key, value in every.items() if value is not None}

    def _end_training(self, next_purpose: str) -> None:
        """Book the training steps since the last call, after waiting for the device to finish them."""
        self.sums.loss = loss = float(self.sums.loss)
        if not isfinite(loss):
            name = self.recipe.phases[self.position.phase].name
            raise UserError(
                f"{self.run.path}: phase {name}, epoch {self._epoch() + 1}: the loss is {loss}: training has diverged; "
                "lower peak_lr or set optimiser.clip_norm, and give another --run"
            )
        self.sums.spent += self.ledger.begin(next_purpose)

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        progress = self.sums.progress() | {"spent": self.ledger.mark(self._place())}
        if not self.world.first:
            return
        momentum = {} if self.optimiser is None else momenta(self.supernet, self.optimiser)
        average = {} if self.average is None else self.average.net.state_dict()
        tensors = flatten(model=self.supernet.state_dict(), momentum=momentum, average=average)
        save_checkpoint(self.run.checkpoint_folder, Checkpoint(self.position, progress, tensors))

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.run.checkpoint_folder, self.device)
        found = self.world.gather(None if checkpoint is None else checkpoint.position)
        if any(other != found[0] for other in found):
            raise UserError(f"{self.run.path}: processes see different checkpoints; all machines must share this folder")
        if checkpoint is not None:
            self._restore(checkpoint)
        if self.world.first:
            self.metrics.keep_before(self.position.phase, self._epoch())
        self._open_ledger(checkpoint)
        if self.world.first:
            remove_strays(self.run.checkpoint_folder)

    def _open_ledger(self, checkpoint: Checkpoint | None) -> None:
        """Continue the ledger of this rank; what was spent after the checkpoint is booked as lost."""
        self.ledger = Ledger(self.run.energy_folder, "train", self.meter, self.world)
        if checkpoint is None:
            self.ledger.take_back(None)
            return
        marked = checkpoint.progress.get("spent")
        if marked is None and self.world.first and not self.ledger.account.spent:  # a run of an older version
            self.ledger.account.carry_over(TRAINING, *spent_by_rows(self.metrics.rows(), self.sums.spent))
            marked = self.ledger.mark(self._place())
        self.ledger.take_back(self._place(), marked)

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.position, self.sums = checkpoint.position, EpochSums.from_checkpoint(checkpoint.progress, self.world.first)
        self.supernet.load_state_dict(unflatten(checkpoint.tensors, "model"))
        if self.average is not None:
            self.average.net.load_state_dict(unflatten(checkpoint.tensors, "average"))
        if self.position.step > 0:
            self.optimiser = make_optimiser(self.supernet, self.recipe.optimiser)
            set_momenta(self.supernet, self.optimiser, unflatten(checkpoint.tensors, "momentum"))

    def _epoch(self) -> int:
        """The epoch within the phase that is not finished yet, even if its last step has been taken."""
        return (self.position.step - self.sums.steps) // self.steps_per_epoch

    def _place(self) -> tuple[int, int, int]:
        """A key that ascends in the course of a run: the position, then 1 once its epoch (evaluation too) is finished."""
        return self.position.phase, self.position.step, int(self.sums.steps == 0)
