"""optuna's study in a storage that several processes search together, within one budget.

An evaluation is claimed before it is made: as a running trial, which the storage numbers atomically. A claim counts where
the budget has room for it after all claims and evaluations of lower numbers, so the budget is exact however many processes
search. Claims of a process that has ended, or was silent for `CLAIM_S`, are given back; if it was only slow, its later
results are not added.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any

from ofa.errors import UserError
from search.evaluations.log import difference

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial

JOURNAL_SCHEME = "journal://"
RETRY_AFTER_S = 1.0
"""Wait before a database that could not be opened is tried once more."""
WORKER_ATTRIBUTE = "worker"
"""User attribute that tells trials apart: host, process, a random number, number."""
DIGEST_ATTRIBUTE = "digest"
"""User attribute that vouches for a finished trial."""
OTHER = "give another --storage or --study"
CLAIM_S = 60.0
"""Time after which another process's claim is given back, as seen by the one that waits; a batch's predictions take 1 s."""


@dataclass
class SharedStudy:
    """A study in a storage; made by `open_shared`."""

    study: Study
    url: str
    subnets: Callable[[list[FrozenTrial]], list[bytes]]
    """Takes trials; returns a key of each one's subnet."""
    budget: int
    """Distinct subnets that all processes together evaluate."""
    worker: str = field(default_factory=lambda: f"{platform.node()}-{os.getpid()}-{secrets.token_hex(2)}")
    """Name of this process, different from all others."""
    _claims: dict[str, int] = field(default_factory=dict)
    """Open claims of this process: the trial's id by its `WORKER_ATTRIBUTE`."""
    _subnet_of: dict[int, bytes] = field(default_factory=dict)
    """Key of the subnet of each trial seen so far, by the trial's number."""
    _vouched: set[int] = field(default_factory=set)
    """Trials whose digest was checked, by number."""
    _seen_s: dict[int, float] = field(default_factory=dict)
    """Time at which a claim of another process was first seen, by number."""

    def finished(self) -> list[FrozenTrial]:
        """The trials that any process has evaluated, or found beyond the limits."""
        from optuna.trial import TrialState

        with self._storing():
            trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        for trial in trials:
            if trial.number in self._vouched:
                continue
            if trial.user_attrs.get(DIGEST_ATTRIBUTE) != digest(trial.params, trial.user_attrs, trial.values):
                raise UserError(f"storage {self.url!r} is damaged: trial {trial.number} is not as it was written; {OTHER}")
            self._vouched.add(trial.number)
        return trials

    def add(self, trials: Sequence[FrozenTrial]) -> None:
        """Add finished trials that are no evaluations: those beyond the limits."""
        with self._storing():
            self.study.add_trials(trials)

    def room(self) -> int:
        """Evaluations that are neither made nor claimed; claims of processes that have ended are given back first."""
        with self._storing():
            self._give_back_lost()
            return max(0, self.budget - len(set(self._subnets(self._counted()))))

    def claim(self, trials: Sequence[FrozenTrial]) -> list[bool]:
        """Claim the evaluation of running trials; returns, for each, whether this process may make it."""
        own = {str(trial.user_attrs[WORKER_ATTRIBUTE]): trial for trial in trials}
        granted = dict.fromkeys(own, False)
        with self._storing():
            for name, trial in own.items():
                self._claims[name] = self._storage.create_new_trial(self.study._study_id, template_trial=trial)
            counted = self._counted()
            taken: set[bytes] = set()
            for trial, subnet in zip(counted, self._subnets(counted), strict=True):
                name = str(trial.user_attrs[WORKER_ATTRIBUTE])
                if name in self._claims:
                    granted[name] = subnet not in taken and len(taken) < self.budget
                taken.add(subnet)
            for name, kept in granted.items():
                if not kept:
                    self._end(self._claims.pop(name))
        return list(granted.values())

    def complete(self, trial: FrozenTrial, known: FrozenTrial) -> None:
        """Replace the claim `known` in the storage by the finished `trial`."""
        from optuna.exceptions import UpdateFinishedTrialError

        claim = self._claims.pop(str(trial.user_attrs[WORKER_ATTRIBUTE]))
        with self._storing(), suppress(UpdateFinishedTrialError):  # given back: this process was taken for ended
            for name in trial.user_attrs.keys() - known.user_attrs.keys():
                self._storage.set_trial_user_attr(claim, name, trial.user_attrs[name])
            for name in trial.system_attrs.keys() - known.system_attrs.keys():
                self._storage.set_trial_system_attr(claim, name, trial.system_attrs[name])
            self._storage.set_trial_state_values(claim, trial.state, trial.values)

    @contextmanager
    def claims(self) -> Iterator[None]:
        """A block after which, however it ends, this process holds no claims."""
        try:
            yield
        finally:
            for claim in self._claims.values():
                with suppress(UserError), self._storing():
                    self._end(claim)
            self._claims.clear()

    @property
    def _storage(self) -> BaseStorage:
        return self.study._storage

    def _counted(self) -> list[FrozenTrial]:
        """Evaluations and claims by number."""
        from optuna.trial import TrialState

        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
        return sorted((t for t in trials if WORKER_ATTRIBUTE in t.user_attrs), key=lambda trial: trial.number)

    def _subnets(self, trials: list[FrozenTrial]) -> list[bytes]:
        new = [trial for trial in trials if trial.number not in self._subnet_of]
        self._subnet_of |= {trial.number: subnet for trial, subnet in zip(new, self.subnets(new), strict=True)}
        return [self._subnet_of[trial.number] for trial in trials]

    def _give_back_lost(self) -> None:
        for trial in self._counted():
            worker = str(trial.user_attrs[WORKER_ATTRIBUTE])
            if not trial.state.is_finished() and worker not in self._claims:
                seen = self._seen_s.setdefault(trial.number, time.monotonic())
                if _has_ended(worker) or time.monotonic() - seen > CLAIM_S:
                    self._end(trial._trial_id)

    def _end(self, claim: int) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_state_values(claim, TrialState.FAIL)

    @contextmanager
    def _storing(self) -> Iterator[None]:
        with _told(self.url, "cannot be read or written", "what it has stays; the same command goes on with it"):
            yield


def open_shared(
    url: str,
    name: str | None,
    directions: Sequence[StudyDirection],
    question: dict[str, Any],
    space: str,
    subnets: Callable[[list[FrozenTrial]], list[bytes]],
    budget: int,
) -> SharedStudy:
    """The study of a question in the storage at `url`, made where there is none.

    `name` None: the space's name and a digest of the question (`evaluations.log.question`). `subnets` and `budget` are those
    of `SharedStudy`.

    Raises:
        UserError: the storage cannot be opened, or the study is of another problem.
    """
    import optuna

    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:12]
    name = name or f"{space}-{digest}"
    storage = _storage(url)
    with _told(url, "cannot be read or written", "free space, or give another"):
        study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
        known = study.user_attrs.get("question")
        if known is None:
            if study.get_trials(deepcopy=False):
                raise UserError(f"study {name!r} is not one of ofa; give another --study")
            study.set_user_attr("question", question)
        elif differs := difference(known, question):
            raise UserError(f"study {name!r} is of another problem: {differs}; give another --study")
    return SharedStudy(study, url, subnets, budget)


def digest(params: Mapping[str, Any], attributes: Mapping[str, Any], values: Sequence[float] | None) -> str:
    """A digest of what a finished trial says, but for times: its parameters, user attributes and values."""
    told = {name: value for name, value in attributes.items() if name != DIGEST_ATTRIBUTE}
    return hashlib.sha256(json.dumps([dict(params), told, values], sort_keys=True).encode()).hexdigest()


def _has_ended(worker: str) -> bool:
    """True where a trial's worker was a process of this machine that runs no longer."""
    host, process, *_ = worker.rsplit("-", 3)
    if host != platform.node() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    return False


def _storage(url: str) -> BaseStorage:
    """The storage of a URL; raises `UserError` when it cannot be opened."""
    from optuna.exceptions import StorageInternalError
    from optuna.storages import JournalStorage, RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    from search.searchers.whole_journal import WholeJournal

    for last in (False, True):
        try:
            if url.startswith(JOURNAL_SCHEME):
                return JournalStorage(WholeJournal(url.removeprefix(JOURNAL_SCHEME)))
            return RDBStorage(url)
        except (ImportError, OSError, ValueError, StorageInternalError, SQLAlchemyError) as error:
            if isinstance(error, SQLAlchemyError) and not last:
                time.sleep(RETRY_AFTER_S)  # in a new database, another process may be making the same tables
                continue
            raise UserError(
                f"storage {url!r} cannot be opened: {_in_words(error)}; "
                f"allowed are sqlite:///FILE, {JOURNAL_SCHEME}FILE, postgresql://..."
            ) from None
    raise AssertionError("the second attempt returns or raises")


@contextmanager
def _told(url: str, what: str, advice: str) -> Iterator[None]:
    """A block in which errors of a storage (a full disk, a lost connection, a damaged journal) become one line."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except JSONDecodeError as error:
        raise UserError(f"storage {url!r} is damaged: {_in_words(error)}; {OTHER}") from None
    except (OSError, StorageInternalError, SQLAlchemyError) as error:
        raise UserError(f"storage {url!r} {what}: {_in_words(error)}; {advice}") from None


def _in_words(error: BaseException) -> str:
    cause = "" if error.__cause__ is None else f" ({str(error.__cause__).splitlines()[0]})"
    return f"{str(error).splitlines()[0]}{cause}"
