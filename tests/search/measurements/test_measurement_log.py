from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ofa.errors import UserError
from ofa.files.vouched import read_vouched_line
from ofa.measure.accuracy import BALANCED, TOP1
from ofa.space.search_space import Genes, load_space
from search.measurements.log import MeasurementLog, sample_plan
from tests.search_toys import every_subnet, make_space

SPACE = make_space()


class Counter:
    """Gets as many percent right as the genes' sum: the first images."""

    def __init__(self, fail_after: int | None = None, images: int = 500) -> None:
        self.calls, self.fail_after, self.images = 0, fail_after, images

    def __call__(self, row: Genes) -> npt.NDArray[np.bool_]:
        if self.calls == self.fail_after:
            raise KeyboardInterrupt
        self.calls += 1
        return np.arange(self.images) < self.images * int(row.sum()) // 100


def open_log(path: Path, weights: str = "w1", images: int = 500) -> MeasurementLog:
    return MeasurementLog.open(path / "log.jsonl", SPACE, weights, images)


def test_measures_once_and_remembers(tmp_path: Path) -> None:
    genes = SPACE.sample(6, np.random.default_rng(0))
    counter = Counter()
    first = open_log(tmp_path).top1(np.concatenate([genes, genes[:2]]), counter)
    assert counter.calls == 6
    assert first.tolist() == pytest.approx([row.sum() / 100 for row in [*genes, *genes[:2]]])
    again = open_log(tmp_path).top1(genes[::-1], Counter(fail_after=0))
    assert again.tolist() == first[:6][::-1].tolist()


def test_counts_right_answers_in_ten_parts_of_the_images(tmp_path: Path) -> None:
    genes = np.unique(SPACE.sample(4, np.random.default_rng(0)), axis=0)  # in the order of measuring
    assert open_log(tmp_path).by_group(genes[:0]) is not None
    top1 = open_log(tmp_path).top1(genes, Counter())
    again = open_log(tmp_path)
    parts = again.by_group(genes)
    assert parts is not None
    assert parts.shape == (4, 10)
    assert parts.mean(axis=1) == pytest.approx(top1)
    assert parts[0, 0] == pytest.approx(min(1, 10 * top1[0]))  # the first images are the ones it gets right
    assert parts[0, -1] == 0.0
    path = tmp_path / "log.jsonl"
    old = read_vouched_line(path.read_text().splitlines()[0], "", "")
    del old["correct"]
    path.write_text(json.dumps(old) + "\n" + "\n".join(path.read_text().splitlines()[1:]) + "\n")
    older = open_log(tmp_path)
    assert older.has(genes) == [True] * 4
    assert older.by_group(genes) is None
    assert older.by_group(genes[1:]) is not None
    path.write_text(json.dumps(old | {"correct": [50] * 9 + [51]}) + "\n")
    with pytest.raises(UserError, match=r"log.jsonl:1: correct is \[50, .* must be 10 counts that add up to"):
        open_log(tmp_path)


def test_resumes_after_an_interruption_and_a_line_cut_short(tmp_path: Path) -> None:
    genes = SPACE.sample(8, np.random.default_rng(1))
    with pytest.raises(KeyboardInterrupt):
        open_log(tmp_path).top1(genes, Counter(fail_after=5))
    path = tmp_path / "log.jsonl"
    assert len(path.read_text().splitlines()) == 5
    path.write_bytes(path.read_bytes()[:-20])  # as `kill -9` during a write leaves it
    counter = Counter()
    log = open_log(tmp_path)
    assert sum(log.has(genes)) == 4
    log.top1(genes, counter)
    assert counter.calls == 4
    assert len(path.read_text().splitlines()) == 8
    assert all(open_log(tmp_path).has(genes))


def test_other_numbers_of_images_are_measured_apart_and_kept(tmp_path: Path) -> None:
    genes = SPACE.sample(3, np.random.default_rng(0))
    open_log(tmp_path).top1(genes, Counter())
    counter = Counter(images=100)
    open_log(tmp_path, images=100).top1(genes, counter)
    assert counter.calls == 3
    assert all(open_log(tmp_path).has(genes))


def test_foreign_and_damaged_lines_are_refused(tmp_path: Path) -> None:
    genes = SPACE.sample(2, np.random.default_rng(0))
    open_log(tmp_path).top1(genes, Counter())
    with pytest.raises(UserError, match=r"log.jsonl:1: measured on weights w1; the run has w2 now; move the file away"):
        open_log(tmp_path, weights="w2")
    path = tmp_path / "log.jsonl"
    good = path.read_text()
    written = good.splitlines()[0]
    plain = json.dumps(read_vouched_line(written, "", ""))  # as versions before 0.2 wrote it
    for line, message in (
        ("{broken}\n", r"log.jsonl:3: not valid JSON .* remove the line to measure that subnet again"),
        ('{"genes": [1]}\n', r"log.jsonl:3: not a measurement \('top1'\)"),
        (written.replace('"top1": 0', '"top1": 1') + "\n", "log.jsonl:3: damaged: its content is not what was written"),
        (plain.replace('"top1": 0', '"top1": 7') + "\n", "top1 is 7.* must be between 0 and 1"),
        (plain.replace(SPACE.fingerprint, "beef") + "\n", "measured on a space with fingerprint beef; toy has"),
        (plain.replace('"genes": [', '"genes": [9, ') + "\n", "genes have shape"),
    ):
        path.write_text(good + line)
        with pytest.raises(UserError, match=message):
            open_log(tmp_path)
    path.write_bytes(good.encode() + b"\xff\n")
    with pytest.raises(UserError, match=r"log.jsonl:3: not valid JSON"):
        open_log(tmp_path)


def test_plan_starts_with_largest_and_smallest_and_grows_at_its_end() -> None:
    space = load_space("fmnist")
    plan = sample_plan(space, 60, np.random.default_rng(4))
    longer = sample_plan(space, 400, np.random.default_rng(4))
    assert np.array_equal(longer[:60], plan)
    assert len(np.unique(longer, axis=0)) == 400
    assert np.array_equal(plan[:1], space.encode(space.largest()))
    assert (plan[1] == 0).all()
    assert not np.array_equal(plan, sample_plan(space, 60, np.random.default_rng(5)))


def test_plan_of_a_whole_small_space() -> None:
    small = make_space(stages=1)
    plan = sample_plan(small, small.count(), np.random.default_rng(0))
    assert {row.tobytes() for row in plan} == {row.tobytes() for row in every_subnet(small)}
    with pytest.raises(UserError, match=f"samples is {small.count() + 1}, but toy has only {small.count()} subnets"):
        sample_plan(small, small.count() + 1, np.random.default_rng(0))
    with pytest.raises(UserError, match="samples is 1; must be at least 2"):
        sample_plan(small, 1, np.random.default_rng(0))


def test_balanced_accuracy_is_told_by_the_same_lines_and_checked(tmp_path: Path) -> None:
    genes = SPACE.sample(3, np.random.default_rng(0))
    shares = np.arange(1, SPACE.classes + 1) / np.arange(1, SPACE.classes + 1).sum()
    labels = np.random.default_rng(1).choice(SPACE.classes, 500, p=shares)
    path = tmp_path / "log.jsonl"

    def balanced() -> MeasurementLog:
        return MeasurementLog.open(path, SPACE, "w1", 500, BALANCED, labels)

    counter = Counter()
    first = MeasurementLog.open(path, SPACE, "w1", 500, TOP1, labels).top1(genes, counter)
    found = balanced().top1(genes, Counter(fail_after=0))  # nothing is measured again
    right = np.array([np.arange(500) < 500 * int(row.sum()) // 100 for row in genes])
    assert first == pytest.approx(right.mean(axis=1))
    recalls = np.array([[row[labels == label].mean() for label in range(SPACE.classes)] for row in right])
    assert found == pytest.approx(recalls.mean(axis=1))
    sizes = np.bincount(labels)
    variance = (recalls * (1 - recalls) / sizes).sum(axis=1)
    assert balanced().standard_error(genes) == pytest.approx(variance**0.5 / len(sizes))
    groups = balanced().by_group(genes)
    assert groups is not None
    assert groups.shape == (3, 10)
    line = read_vouched_line(path.read_text().splitlines()[0], "", "")
    for changed, message in (
        ({"right_by_class": [500, *line["right_by_class"][1:]]}, "right_by_class is .* counts of at most .* that add up to"),
        ({"right_by_class": line["right_by_class"][:-1]}, "right_by_class is "),
        ({"balanced_by_group": "none"}, "not a measurement of balanced accuracy"),
    ):
        path.write_text(json.dumps(line | changed) + "\n")
        with pytest.raises(UserError, match=rf"log.jsonl:1: {message}"):
            balanced()
    path.write_text(json.dumps({key: line[key] for key in ("genes", "top1", "images", "space", "weights")}) + "\n")
    assert balanced().has(genes) == [False] * 3  # a line of an earlier version
    with pytest.raises(UserError, match="balanced accuracy needs the labels of the images"):
        MeasurementLog.open(path, SPACE, "w1", 500, BALANCED)
