"""Sums of a run's ledgers by purpose and kind: metered, estimated and unknown stay apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ofa import UserError
from ofa.energy.account import Account, Booked, Spent, combined, energy_of_run
from ofa.energy.reading import ESTIMATED, METERED, UNKNOWN, EnergyReading

RAPL = EnergyReading(100.0, 10.0, "RAPL package-0", ("no NVML",))
TDP = EnergyReading(500.0, 20.0, "estimated: 300 W x 0.6", kind=ESTIMATED)
NONE = EnergyReading(None, 5.0, "no energy counter is readable: no RAPL", ("no RAPL",))


def written(folder: Path, name: str, *booked: tuple[str, EnergyReading]) -> None:
    account = Account()
    for purpose, reading in booked:
        account.book(purpose, reading)
    account.write(folder / f"{name}.json", is_open=False)


def test_a_reading_is_booked_by_its_kind() -> None:
    assert Spent.of(RAPL) == Spent(10.0, 100.0)
    assert Spent.of(TDP) == Spent(20.0, estimated_j=500.0, estimated_s=20.0)
    assert Spent.of(NONE) == Spent(5.0, unread_s=5.0)


def test_estimated_joules_are_never_in_the_metered_sum() -> None:
    account = Account()
    for reading in (RAPL, TDP, NONE):
        account.book("training", reading)
    spent = account.spent["training"]
    assert (spent.seconds, spent.metered_s, spent.unread_s, spent.estimated_s) == (35.0, 10.0, 5.0, 20.0)
    assert (spent.energy_j, spent.estimated_j) == (100.0, 500.0)
    assert (account.sources, account.estimates) == (["RAPL package-0", NONE.source], ["estimated: 300 W x 0.6"])
    assert Spent.of(TDP).energy_j is None
    assert Spent.of_plain(spent.plain()) == spent
    assert Spent.of_plain(Spent.of(TDP).plain()) == Spent.of(TDP)
    assert "estimated_j" not in Spent.of(RAPL).plain()


def test_the_energy_of_a_run_by_purpose_and_kind(tmp_path: Path) -> None:
    written(tmp_path, "train-0", ("training", RAPL), ("training", TDP), ("evaluation", RAPL))
    written(tmp_path, "train-1", ("training", RAPL))
    written(tmp_path, "result-0", ("evaluation", RAPL))
    written(tmp_path, "query-0", ("query", NONE))
    assert energy_of_run(tmp_path) == [
        Booked("evaluation", METERED, 20.0, 200.0, ("RAPL package-0",), ("no NVML",)),
        Booked("query", UNKNOWN, 5.0, None, (NONE.source,), ("no RAPL",)),
        Booked("training", ESTIMATED, 20.0, 500.0, ("estimated: 300 W x 0.6",)),
        Booked("training", METERED, 10.0, 200.0, ("RAPL package-0",), ("no NVML",)),  # time of rank 0, joules of both
    ]


def test_a_run_without_ledgers_has_no_energy(tmp_path: Path) -> None:
    assert energy_of_run(tmp_path / "energy") == []


def test_a_damaged_ledger_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "train-0", ("training", RAPL))
    file = tmp_path / "train-0.json"
    file.write_text(file.read_text().replace("100.0", "900.0"))
    with pytest.raises(UserError, match=r"train-0\.json: damaged"):
        energy_of_run(tmp_path)


def test_ledgers_of_before_estimates_are_read(tmp_path: Path) -> None:
    old = {"spent": {"training": {"seconds": 1.0, "joules": 2.0, "unread_s": 0.5}}, "sources": ["s"], "missing": []}
    (tmp_path / "train-0.json").write_text(json.dumps(old | {"kills": 0, "marks": [], "open": False}))
    assert Account.read(tmp_path / "train-0.json").spent == {"training": Spent(1.0, 2.0, 0.5)}


def test_what_several_ranks_estimate_adds_up() -> None:
    accounts = [Account(), Account()]
    for account in accounts:
        account.book("training", TDP)
    whole = combined((Path(f"train-{rank}.json"), account) for rank, account in enumerate(accounts))
    assert whole.spent["training"] == Spent(20.0, estimated_j=1000.0, estimated_s=20.0)
    assert whole.estimates == ["estimated: 300 W x 0.6"]
