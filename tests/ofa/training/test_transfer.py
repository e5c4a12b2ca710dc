"""From a trained supernet to other images, and one subnet further: `ofa train --init`, `ofa finetune`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ofa import UserError, load_subnet
from ofa.cli.main import main
from ofa.data.batches import load_data
from ofa.data.config import DataConfig
from ofa.deploy.subnet_directory import save_subnet
from ofa.files.vouched import read_vouched_json, write_vouched_json
from ofa.measure.accuracy import paired_gain
from ofa.nets.plain import arrays
from ofa.nets.supernet import Supernet
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.run_directory import RunDirectory
from ofa.training.step import load_teacher
from ofa.training.trainer import Trainer
from ofa.training.transfer import start_from, transfer_recipe
from tests.tiny import killed_after, write_recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny recipe."""
    folder = tmp_path_factory.mktemp("trained")
    assert main(["train", str(write_recipe(folder)), "--run", str(folder / "run"), "--quiet"]) == 0
    return folder / "run"


def write_images(path: Path, classes: int, count: int = 160) -> Path:
    """Images of 12 pixels whose class is the height at which they are bright."""
    rng = np.random.default_rng(1)
    labels = np.arange(count) % classes
    images = rng.integers(0, 120, (count, 12, 12))
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 3] += 130
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    return path


def test_other_images_need_one_command(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_images(tmp_path / "rows.npz", classes=4)
    command = ["train", "--init", str(trained), "--data", str(data), "--run", str(tmp_path / "run"), "--json"]
    assert main([*command, "--epochs", "6"]) == 0
    capsys.readouterr()
    run = RunDirectory.open(tmp_path / "run")
    assert run.space.classes == 4
    assert run.recipe.init == str(trained)
    assert run.recipe.batch_size == 10  # halved, so that the 144 training images make at least eight steps
    assert [phase.epochs for phase in run.recipe.phases] == [6]
    before = load_file(trained / "supernet.safetensors")
    after = load_file(run.weights_path)
    assert after["head.classifier.weight"].shape[0] == 4
    assert {key for key in before if before[key].shape != after[key].shape} == {
        "head.classifier.weight",
        "head.classifier.bias",
    }
    subnets = [run.space.smallest(), run.space.largest()]
    assert evaluator_of_run(run).top1(subnets).min() > 0.6  # guessing is 0.25
    assert main([*command, "--epochs", "6"]) == 0  # it is finished: the same command only reports
    assert json.loads(capsys.readouterr().out)["run"] == str(tmp_path / "run")


def test_weights_are_those_of_the_run_where_classes_agree(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, _ = (trained.parent / "tiny.yaml").read_text().split("phases:")
    (tmp_path / "tiny-space.yaml").write_text((trained.parent / "tiny-space.yaml").read_text())
    phases = "phases: [{name: all, epochs: 1, peak_lr: 0.0, opens: {everything: true}}]\n"
    (tmp_path / "again.yaml").write_text(f"{head}init: {trained}\n{phases}")
    assert main(["train", str(tmp_path / "again.yaml"), "--run", str(tmp_path / "run"), "--quiet"]) == 0
    line = f"starts from the supernet of {trained}, its classifier too: the classes are the same"
    assert line in capsys.readouterr().err.splitlines()
    before, after = load_file(trained / "supernet.safetensors"), load_file(tmp_path / "run" / "supernet.safetensors")
    weights = [key for key in before if "running" not in key and "num_batches" not in key]
    assert weights
    assert all(torch.equal(before[key], after[key]) for key in weights)


def copy_of(run: Path, folder: Path, classes: tuple[str, ...] = ("0", "1", "2"), record: bool = True) -> Path:
    """A copy of a run whose data are gone, and whose classes had these names; or that has no record of its data."""
    copy = folder / "gone"
    shutil.copytree(run, copy)
    lines = (copy / "recipe.yaml").read_text().splitlines()[1:-1]  # without the digest, which is of the old place
    (copy / "recipe.yaml").write_text("\n".join(lines).replace(str(run.parent), str(folder / "nowhere")))
    if record:
        facts = read_vouched_json(copy / "data.json", "")
        found_at = facts["found_at"].replace(str(run.parent), str(folder / "nowhere"))
        write_vouched_json(copy / "data.json", facts | {"found_at": found_at, "classes": classes})
    else:
        (copy / "data.json").unlink()
    return copy


@pytest.mark.parametrize(
    ("before", "now", "why_new"),
    [
        (("cat", "dog", "fox"), ("cat", "dog", "fox"), None),
        (("cat", "dog", "fox"), ("cat", "fox", "dog"), "class 1 is 'fox' instead of 'dog'"),
        (("cat", "dog", "fox"), ("oak", "fir", "elm"), "class 0 is 'oak' instead of 'cat'"),
        (("cat", "dog", "fox"), ("cat", "dog"), "2 classes instead of 3"),
        (("cat", "dog", "fox"), ("0", "1", "2"), "class 0 is '0' instead of 'cat'"),
        (("0", "1", "2"), ("0", "1", "2"), "the classes have numbers instead of names, so they may be others"),
        (None, ("cat", "dog", "fox"), "does not say which classes it had"),
    ],
)
def test_the_classifier_is_kept_for_the_same_classes_only(
    trained: Path, tmp_path: Path, before: tuple[str, ...] | None, now: tuple[str, ...], why_new: str | None
) -> None:
    run = copy_of(trained, tmp_path, before or (), record=before is not None)
    net = Supernet(replace(RunDirectory.open(run).space, classes=len(now)), torch.Generator().manual_seed(0))
    fresh = {key: value.clone() for key, value in net.state_dict().items()}
    data = write_images(tmp_path / "rows.npz", classes=len(now))
    record = replace(load_data(DataConfig(source=str(data)), channels=1).record, classes=now)
    line = start_from(net, run, record)
    weights, found = load_file(run / "supernet.safetensors"), net.state_dict()
    classifier = {"head.classifier.weight", "head.classifier.bias"}
    assert all(torch.equal(weights[key], found[key]) for key in weights.keys() - classifier)
    expected = weights if why_new is None else fresh
    assert all(torch.equal(expected[key], found[key]) for key in classifier)
    assert line.startswith(f"starts from the supernet of {run}, ")
    assert line.endswith("the classes are the same" if why_new is None else why_new)


def test_images_may_be_of_other_sizes(trained: Path) -> None:
    source = RunDirectory.open(trained)
    record = source.record()
    assert record is not None
    recipe, space = transfer_recipe(source, record.found_at, resolutions=(16, 20))
    assert (recipe.resolutions, space.resolutions) == ((16, 20), (16, 20))
    net = Supernet(space, torch.Generator().manual_seed(0))
    start_from(net, trained, record)
    found = net.state_dict()
    assert all(torch.equal(value, found[key]) for key, value in load_file(trained / "supernet.safetensors").items())


@pytest.mark.parametrize("record", [True, False])
def test_epochs_follow_the_steps_of_the_run_whose_data_are_gone(trained: Path, tmp_path: Path, record: bool) -> None:
    source = RunDirectory.open(copy_of(trained, tmp_path, record=record))
    with pytest.raises(UserError, match="nowhere"):
        source.data()
    small = transfer_recipe(source, str(write_images(tmp_path / "small.npz", 2, count=20)))[0]
    large = transfer_recipe(source, str(write_images(tmp_path / "large.npz", 2, count=400)))[0]
    assert (small.batch_size, small.phases[0].epochs) == (2, 6)  # no fewer epochs than the tiny recipe
    assert (large.batch_size, large.phases[0].epochs) == (20, 6)
    longer = replace(source, recipe=replace(source.recipe, batch_size=2))  # 6 epochs of 100 steps
    assert transfer_recipe(longer, str(tmp_path / "small.npz"))[0].phases[0].epochs == -(-150 // (18 // 2))
    if not record:
        (source.path / "metrics.jsonl").unlink()
        with pytest.raises(UserError, match=r"neither data\.json nor metrics\.jsonl says how many steps .* --epochs N"):
            transfer_recipe(source, str(tmp_path / "small.npz"))
        assert transfer_recipe(source, str(tmp_path / "small.npz"), epochs=3)[0].phases[0].epochs == 3


def test_a_run_goes_on_when_the_one_it_started_from_is_gone(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = copy_of(trained, tmp_path)
    data = str(write_images(tmp_path / "rows.npz", classes=4))
    recipe, space = transfer_recipe(RunDirectory.open(source), data, epochs=2)
    run = RunDirectory.create(tmp_path / "run", recipe, space)
    with killed_after(1, monkeypatch):
        Trainer(run, quiet=True).train()
    shutil.rmtree(source)
    trainer = Trainer(run, quiet=True)
    assert trainer.start is None
    trainer.train()
    assert run.weights_path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to train: give a recipe, or --init RUN --data NEW"),
        (["demo", "--init", "RUN"], "both the recipe demo and --init"),
        (["--init", "RUN"], "--init is given without --data NEW"),
        (["demo", "--data", "x.npz"], "--data is given without --init RUN"),
        (["demo", "--epochs", "3"], "--epochs is 3; it needs --init"),
        (["--init", "RUN", "--data", "x.npz", "--epochs", "0"], "--epochs is 0; it needs --init, and must be at least 1"),
        (["demo", "--resolutions", "16"], "--resolutions is [16]; it needs --init"),
        (["--init", "RUN", "--data", "DATA", "--resolutions", "16", "12"], "choices must be ascending and distinct"),
        (["--init", "nowhere", "--data", "x.npz"], "nowhere: no run directory"),
        (["--init", "RUN", "--data", "nothing.npz"], "data source 'nothing.npz': there is no"),
    ],
)
def test_mistakes_are_one_line(
    trained: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"RUN": str(trained), "DATA": str(trained.parent / "data.npz")}
    assert main(["train", *(known.get(word, word) for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_weights_of_another_net_are_one_line(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As where two files were mixed up; each vouches for itself."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "supernet.safetensors").write_bytes((trained / "teacher.safetensors").read_bytes())
    new = ["--data", str(trained.parent / "data.npz"), "--run", str(tmp_path / "new")]
    for words in (["train", "--init", str(run), *new], ["evaluate", str(run)]):
        assert main(words) == 2
        message = capsys.readouterr().err
        assert "supernet.safetensors: not the weights of this run: " in message
        assert message.count("\n") == 1
    with pytest.raises(UserError, match="not the weights of this run"):
        load_teacher(trained / "supernet.safetensors", RunDirectory.open(run).space, torch.device("cpu"))


def test_another_space_is_refused(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_recipe(tmp_path)
    path.write_text(path.read_text() + f"init: {trained}\n")
    space = tmp_path / "tiny-space.yaml"
    space.write_text(space.read_text().replace("kernels: [3, 5]", "kernels: [3]"))
    path.write_text(path.read_text().replace("  - {name: kernel, epochs: 1, peak_lr: 0.05, opens: {kernels: [3, 5]}}\n", ""))
    assert main(["train", str(path), "--run", str(tmp_path / "run")]) == 2
    assert "only the resolutions and the number of classes may differ" in capsys.readouterr().err


def test_finetuning_gains_and_says_so(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory.open(trained)
    subnet = run.space.smallest()
    card = {
        "title": "smallest",
        "figures": [{"name": "Latency", "value": 1.0, "unit": "ms", "source": "none", "uncertainty": None}],
        "input": {"channels": 1, "resolution": subnet.resolution, "mean": [0.5], "std": [0.5], "classes": ["a", "b", "c"]},
    }
    module = evaluator_of_run(run).module(subnet)
    with torch.no_grad():  # a subnet with something to learn: its classifier is forgotten
        module.head.classifier.weight.zero_()
    folder = save_subnet(trained / "queries" / "smallest", run.space, subnet, arrays(module), card)
    weights = (folder / "weights.safetensors").read_bytes()
    folder.with_name("smallest-finetuned").mkdir()  # an empty folder is as good as none
    for _ in range(2):
        assert main(["finetune", str(folder), "--epochs", "4", "--peak-lr", "0.1", "--json"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    out = Path(first["out"])
    assert out == folder.with_name("smallest-finetuned")
    assert first["top1_after"] > first["top1_before"] + 0.2
    assert first["gain"] == pytest.approx(first["top1_after"] - first["top1_before"])
    assert 0 < first["gain_error"] < first["gain"]
    assert (folder / "weights.safetensors").read_bytes() == weights
    lines = json.loads((out / "card.json").read_text())["figures"]
    assert [line["name"] for line in lines] == ["Top-1, validation (measured)", "Latency"]
    assert lines[0]["value"] == pytest.approx(100 * first["top1_after"])
    evaluator = evaluator_of_run(run)
    assert evaluator.correct_of(load_subnet(out), subnet.resolution).mean() == pytest.approx(first["top1_after"])

    assert main(["finetune", str(folder), "--run", str(tmp_path)]) == 2
    assert "no run directory" in capsys.readouterr().err
    assert main(["finetune", str(folder), "--peak-lr", "0"]) == 2
    assert "--peak-lr is 0.0; must be above 0" in capsys.readouterr().err
    assert main(["finetune", str(folder), "--distill", "nan"]) == 2
    assert "--distill is nan; must be at least 0 and finite" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("keep me")
    assert main(["finetune", str(folder), "--out", str(tmp_path)]) == 2
    assert "which exists and holds no subnet; give another folder" in capsys.readouterr().err
    assert main(["finetune", str(folder), "--out", str(tmp_path / "notes.txt" / "subnet")]) == 2
    assert "notes.txt is no folder that can be written to; give another" in capsys.readouterr().err


def test_a_gain_is_as_sure_as_the_images_that_changed_are_many() -> None:
    before = np.array([True] * 90 + [False] * 10)
    after = before.copy()
    assert paired_gain(before, after) == (0.0, 0.0)
    after[[0, 95, 96, 97]] = [False, True, True, True]  # one lost, three won
    gain, error = paired_gain(before, after)
    assert gain == pytest.approx(0.02)
    assert error == pytest.approx((0.04 - 0.02**2) ** 0.5 / 10)
