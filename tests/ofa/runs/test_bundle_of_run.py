"""A run that is packed answers as the run does, where neither data set nor network is; what it cannot do is one line."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from ofa.cli.main import main
from ofa.data.record import DataRecord
from ofa.deploy.subnet_directory import load_subnet
from ofa.errors import UserError
from ofa.files import schema
from ofa.files.bundle import MANIFEST, Bundle, bundle_content
from ofa.files.vouched import read_vouched_json, write_vouched_json
from ofa.measure.evaluator import SubnetEvaluator
from ofa.runs import subnet_weights
from ofa.runs.evaluator import evaluator_of_run
from ofa.runs.run_directory import RunDirectory
from ofa.runs.run_files import RunFiles
from tests.verbs import error, figures, ofa

ROOT = Path(__file__).resolve().parents[3]
Capture = pytest.CaptureFixture[str]
ANSWER = ("--platform", "edge-int8", "--no-verify", "--json")
QUESTIONS = [
    ("edge-int8", "--macs-m", 0.06),
    ("eyeriss-like", "--params-m", 0.004),
    ("analog-imc", "--energy-mj", 1.0),
]


@pytest.fixture(scope="module")
def here(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and its data set, which the recipe names by a relative path."""
    folder = tmp_path_factory.mktemp("here")
    as_trained = shutil.ignore_patterns("result.json")  # which another test may have had written into the shared run
    shutil.copytree(trained_run, folder / "run", ignore=as_trained)
    shutil.copy(trained_run.parent / "data.npz", folder / "data.npz")
    recipe = yaml.safe_load((folder / "run" / "recipe.yaml").read_text())
    recipe["data"]["source"] = "data.npz"
    (folder / "run" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    place_record(folder / "run", folder / "data.npz")
    return folder


def place_record(run: Path, found_at: Path) -> None:
    record = read_vouched_json(run / "data.json", "")
    write_vouched_json(run / "data.json", record | {"found_at": str(found_at)})


@pytest.fixture(scope="module")
def bundles(here: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain.ofa` and `checked.ofa`, which has 20 validation images, in a folder without the data set."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        assert main(["pack", "run", "--out", str(folder / "plain.ofa"), "--json"]) == 0
        assert main(["pack", "run", "--out", str(folder / "checked.ofa"), "--validation", "20", "--json"]) == 0
    return folder


@pytest.fixture
def away(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(bundles)
    return bundles


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_subnet(folder).state_dict())


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


# -- what a run keeps ----------------------------------------------------------------------------------------------------


def test_a_run_keeps_the_images_it_recalibrates_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    run = RunDirectory.open("run")
    kept, data = run.images("train"), run.data()
    assert kept is not None
    assert kept.pixels.shape == (40, 12, 12, 1)  # as many as the recipe's recalibration_images
    assert kept.labels.tolist() == data.labels("train")[:40].tolist()
    kept_data = run.kept_data()
    assert kept_data is not None
    options = {"batch_size": 30, "resolution": 8, "shuffle": False, "augment": False, "limit": 40}
    pairs = zip(kept_data.batches("train", **options), data.batches("train", **options), strict=True)
    assert all(torch.equal(one, other) for (one, _), (other, _) in pairs)


def test_a_subnet_has_the_same_weights_with_and_without_the_data_set(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    run = RunDirectory.open("run")
    subnet = run.space.smallest()
    with_data = evaluator_of_run(run)
    assert with_data.data.sizes["validation"] == 60
    of_data_alone = SubnetEvaluator(run.supernet(), run.data(), run.recipe.evaluation).module(subnet).state_dict()
    shutil.copytree("run", tmp_path / "run")
    place_record(tmp_path / "run", tmp_path / "nothing")
    monkeypatch.chdir(tmp_path)
    without = evaluator_of_run(RunDirectory.open("run"))
    assert "validation" not in without.data.sizes
    assert_equal(with_data.module(subnet).state_dict(), without.module(subnet).state_dict())
    assert_equal(with_data.module(subnet).state_dict(), of_data_alone)


def test_an_older_run_says_how_it_gets_its_images(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shutil.copytree(here / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "images")
    place_record(tmp_path / "run", tmp_path / "data.npz")
    monkeypatch.chdir(tmp_path)
    line = error(capsys, "query", "run", "--platform", "edge-int8", "--no-verify", "--json")
    assert "data source 'data.npz': there is no data.npz nor data/data.npz" in line
    assert "`ofa pack run --out FILE.ofa` on a machine that has it adds to the run what it needs of it" in line
    assert "data.npz" in error(capsys, "pack", "run", "--out", "run.ofa")
    shutil.copy(here / "data.npz", "data.npz")
    before = ofa(capsys, "query", "run", "--platform", "edge-int8", "--no-verify", "--out", "before")
    ofa(capsys, "pack", "run", "--out", "run.ofa")
    os.unlink("data.npz")
    after = ofa(capsys, "query", "run", "--platform", "edge-int8", "--no-verify", "--out", "after")
    assert after["genes"] == before["genes"]
    assert_equal(weights(Path("before")), weights(Path("after")))


# -- a bundle ------------------------------------------------------------------------------------------------------------


def test_packing_twice_gives_the_same_bytes(
    here: Path, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(here)
    for name, options in {"plain.ofa": [], "checked.ofa": ["--validation", "20"]}.items():
        result = ofa(capsys, "pack", "run", "--out", tmp_path / name, *options)
        assert (tmp_path / name).read_bytes() == (bundles / name).read_bytes()
        assert result["bytes"] == (bundles / name).stat().st_size


def test_the_manifest_says_where_all_is_from(bundles: Path, here: Path) -> None:
    manifest = Bundle.open(bundles / "checked.ofa").manifest
    assert manifest["run"] == "run"
    assert manifest["space"] == {"name": "tiny", "fingerprint": RunFiles.open(here / "run").space.fingerprint}
    assert manifest["data"]["source"] == "data.npz"
    assert manifest["data"]["licence"] is None
    assert manifest["data"]["images"] == {"train": 200, "validation": 60, "test": 40}
    assert manifest["kept_images"] == {"train": 40, "validation": 20}
    assert manifest["training"]["train_seconds"] is None  # this run was never measured on test data
    assert manifest["tools"]["torch"] == torch.__version__
    assert str(here) not in json.dumps(manifest)  # where it lay on the training machine is nobody's business
    assert str(here).encode() not in (bundles / "checked.ofa").read_bytes()


@pytest.mark.parametrize(("platform", "limit", "bound"), QUESTIONS)
def test_a_bundle_answers_as_the_run_does(
    platform: str, limit: str, bound: float, here: Path, away: Path, tmp_path: Path, capsys: Capture
) -> None:
    question = ("--platform", platform, limit, bound, "--no-verify")
    of_run = ofa(capsys, "query", here / "run", *question, "--out", tmp_path / "of-run")
    of_bundle = ofa(capsys, "query", "plain.ofa", *question, "--out", tmp_path / "of-bundle")
    assert of_bundle["genes"] == of_run["genes"]
    assert_equal(weights(tmp_path / "of-bundle"), weights(tmp_path / "of-run"))


def test_load_py_classifies_photos_without_anything_else(away: Path, tmp_path: Path, capsys: Capture) -> None:
    from PIL import Image

    result = ofa(capsys, "query", "plain.ofa", "--platform", "edge-int8", "--no-verify", "--out", tmp_path / "net")
    run = RunDirectory.open("plain.ofa")
    subnet = run.space.decode(np.array([result["genes"]], dtype=np.int8))[0]
    kept = run.kept_data()
    assert kept is not None
    photos = []
    for i, pixels in enumerate(kept.squares("train", 8, 12).pixels):
        photos.append(tmp_path / f"photo{i}.png")
        Image.fromarray(pixels[..., 0]).resize((subnet.resolution,) * 2).save(photos[-1])
    labels = kept.labels("train")[:8].tolist()
    ran = subprocess.run(
        [sys.executable, tmp_path / "net" / "load.py", *photos],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    answers = [int(line.split(":")[0]) for line in ran.stdout.splitlines()]
    assert sum(answer == label for answer, label in zip(answers, labels, strict=True)) >= 6


def test_a_query_says_what_its_accuracy_was_measured_on(
    here: Path, away: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def source(run: str) -> str | None:
        card = ofa(capsys, "query", run, "--platform", "edge-int8", "--out", tmp_path / "net")["card"]
        measured = figures(card).get("Top-1, validation (measured)")
        return None if measured is None else str(measured["source"])

    assert source("checked.ofa") == "measured on 20 held-out validation images kept in checked.ofa, batch norm recalibrated"
    by_memory = source("plain.ofa")
    assert by_memory is None or by_memory.startswith("measured on 60 held-out validation images, before the run came here")
    monkeypatch.chdir(here)  # where the data set is
    assert source(str(away / "plain.ofa")) == "measured on 60 held-out validation images, batch norm recalibrated"


def test_what_was_measured_before_is_told_without_images(away: Path, tmp_path: Path, capsys: Capture) -> None:
    known = [
        json.loads(line)
        for line in (RunFiles.open("plain.ofa").path / "predictor" / "measurements.jsonl").read_text().splitlines()
    ]
    space = RunFiles.open("plain.ofa").space
    (tmp_path / "subnet.json").write_text(json.dumps(space.largest().to_dict()))
    result = ofa(capsys, "extract", "plain.ofa", "--subnet", "largest", "--out", tmp_path / "net")
    largest = space.encode(space.largest())[0].tolist()
    assert result["top1"] == next(entry["top1"] for entry in known if entry["genes"] == largest)
    assert "before the run came here" in figures(result["card"])["Top-1, validation (measured)"]["source"]


def test_a_front_is_drawn_from_a_bundle(away: Path, tmp_path: Path, capsys: Capture) -> None:
    options = ("--platform", "edge-int8", "--points", 3)
    measured = ofa(capsys, "pareto", "checked.ofa", *options, "--out", tmp_path / "front.svg")
    assert measured["platforms"][0]["images"] == 20
    predicted = ofa(capsys, "pareto", "plain.ofa", *options, "--no-verify", "--out", tmp_path / "front.svg")
    assert predicted["platforms"][0]["front_points"] == measured["platforms"][0]["front_points"]
    assert ofa(capsys, "pareto", "plain.ofa", *options, "--out", tmp_path / "front.svg")["platforms"][0]["images"] in (
        60,
        None,
    )


def test_other_verbs_read_a_bundle(away: Path, here: Path, tmp_path: Path, capsys: Capture) -> None:
    measured = ofa(capsys, "evaluate", "checked.ofa", "--subnet", "smallest")
    assert measured["images"] == 20
    fleet = tmp_path / "fleet.csv"
    fleet.write_text("platform,macs_m\nedge-int8,0.06\n")
    answer = ofa(capsys, "query", "plain.ofa", "--fleet", fleet, "--out", tmp_path / "answer.json", "--no-verify")
    assert answer["served"] == 1
    data = here / "data.npz"
    run = ofa(capsys, "train", "--init", "plain.ofa", "--data", data, "--epochs", 1, "--run", tmp_path / "new")
    assert run["largest_top1"] > 0.4  # guessing is 0.33
    assert RunDirectory.open(tmp_path / "new").images("train") is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("query", "plain.ofa", "--platform", "edge-int8"), "--out is missing: plain.ofa is a bundle"),
        (("predictor", "plain.ofa", "--samples", "30"), "plain.ofa: cannot be written: a bundle stays as it is"),
        (("evaluate", "plain.ofa"), "kept in plain.ofa (the data set data.npz is not here): has no split 'validation'"),
        (("evaluate", "checked.ofa", "--split", "test"), "has no split 'test'; it has train, validation"),
        (("pack", "plain.ofa", "--out", "again.ofa"), "plain.ofa: cannot be written: a bundle stays as it is"),
        (("pack", "plain.ofa", "--out", "again.zip"), "--out is again.zip; the name of a bundle ends in .ofa"),
        (("train", "--init", "nothing.ofa", "--data", "x.npz"), "nothing.ofa: no run directory"),
    ],
)
def test_what_a_bundle_cannot_do_is_one_line(words: tuple[str, ...], message: str, away: Path, capsys: Capture) -> None:
    assert message in error(capsys, *words)


def test_fine_tuning_needs_the_data_set(away: Path, here: Path, tmp_path: Path, capsys: Capture) -> None:
    ofa(capsys, "query", "plain.ofa", "--platform", "edge-int8", "--no-verify", "--out", tmp_path / "net")
    line = error(capsys, "finetune", tmp_path / "net", "--run", "plain.ofa", "--epochs", 1)
    assert "there is no data.npz" in line


def test_another_data_set_under_the_same_name_is_not_measured(
    away: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = dict(np.load(here / "data.npz"))
    question = ("query", away / "checked.ofa", "--platform", "edge-int8", "--out", "net")
    for change, message in {
        "pixel": "the images of train have other names, sizes or content than then",
        "fewer": "images (",
        "class": "its classes were 0, 1, 2; now they are 0, 1, 2, 3",
    }.items():
        changed = {name: array.copy() for name, array in arrays.items()}
        if change == "pixel":
            changed["x_train"][0, 0, 0] ^= 1
        elif change == "fewer":
            changed |= {name: changed[name][:-10] for name in ("x_train", "y_train")}
        else:
            changed["y_train"][:3] = 3
        np.savez("data.npz", **changed)
        line = error(capsys, *question, "--json")
        assert message in line or "has 4 classes; the space tiny has 3" in line
        assert "data.npz" in line


def test_a_bundle_chooses_no_place_of_this_machine(
    bundles: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for source in (str(here / "data.npz"), f"../{here.name}/data.npz"):
        changed = repacked(bundles / "plain.ofa", tmp_path, "recipe.yaml", renamed_to(source))
        assert not RunDirectory.open(changed).has_data()


# -- what a stranger may send --------------------------------------------------------------------------------------------


def repacked(bundle: Path, folder: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """The bundle with one member changed, and digests that are right."""
    opened = Bundle.open(bundle)
    files = {member: opened.read(member) for member in opened.names()}
    before = files.get(name, b"")
    if before.startswith(b"#"):  # a YAML file that vouches for itself: a stranger leaves that out
        before = b"".join(before.splitlines(keepends=True)[1:-1])
    files[name] = change(before)
    path = folder / "changed.ofa"
    path.write_bytes(bundle_content(files, {}))
    return path


def renamed_to(source: str) -> Callable[[bytes], bytes]:
    return lambda recipe: recipe.replace(b"data.npz", source.encode())


def npz_bomb(_: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo("weights.npy")  # without the time of day: the same bytes twice
        archive.writestr(member, bytes(2**24), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def npz_of_a_huge_shape(_: bytes) -> bytes:
    buffer, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("weights.npy"), header.getvalue())
    return buffer.getvalue()


def pickled(_: bytes) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("change", [npz_bomb, npz_of_a_huge_shape, pickled])
def test_crafted_arrays_of_a_predictor_are_one_line(
    change: Callable[[bytes], bytes], bundles: Path, tmp_path: Path, capsys: Capture
) -> None:
    import hashlib

    arrays = next(name for name in Bundle.open(bundles / "plain.ofa").names() if name.endswith(".npz"))
    crafted = change(b"")  # once: a zip holds the time at which it was made
    first = repacked(bundles / "plain.ofa", tmp_path, arrays, lambda _: crafted)
    digest = hashlib.sha256(crafted).hexdigest()

    def resealed(content: bytes) -> bytes:
        from ofa.files.vouched import vouched_json

        document = json.loads(content)
        return vouched_json({k: v for k, v in document.items() if k != "vouched"} | {"arrays_sha256": digest}).encode()

    second = repacked(first, tmp_path, "predictor/predictor.json", resealed)
    line = error(capsys, "query", second, *ANSWER, "--out", tmp_path / "net")
    assert "does not fit the space tiny" in line


@pytest.mark.parametrize(
    ("member", "change", "message"),
    [
        ("supernet.safetensors", lambda content: content[:-1] + bytes([content[-1] ^ 1]), "fitted to weights"),
        ("supernet.safetensors", lambda content: b"\x80\x04\x95", "fitted to weights"),
        ("space.yaml", lambda content: content.replace(b"- 16", b"- 24"), "fingerprint"),
        ("recipe.yaml", lambda content: b"!!python/object/apply:os.system [id]", "recipe.yaml"),
        ("recipe.yaml", lambda content: b"a: &a [x]\nb: *a\n", "recipe.yaml"),
        ("images/train.safetensors", lambda content: content[:-1], "train.safetensors"),
        ("data.json", lambda content: b"[" * 100_000, "data.json"),
        ("predictor/predictor.json", lambda content: b"{}", "predictor.json"),
    ],
)
def test_crafted_members_are_one_line(
    member: str, change: Callable[[bytes], bytes], message: str, bundles: Path, tmp_path: Path, capsys: Capture
) -> None:
    changed = repacked(bundles / "plain.ofa", tmp_path, member, change)
    line = error(capsys, "query", changed, *ANSWER, "--out", tmp_path / "net")
    assert message in line
    assert not (tmp_path / "net").exists()


def test_weights_of_another_space_are_one_line(bundles: Path, tmp_path: Path) -> None:
    wider = repacked(
        bundles / "plain.ofa", tmp_path, "space.yaml", lambda content: content.replace(b"width: 32", b"width: 40")
    )
    with pytest.raises(UserError, match=r"supernet\.safetensors: not the weights of this run"):
        RunDirectory.open(wider).supernet()


def test_the_record_of_a_bundle_is_that_of_the_run(bundles: Path, here: Path) -> None:
    of_bundle, of_run = (RunFiles.open(place).record() for place in (bundles / "plain.ofa", here / "run"))
    assert isinstance(of_bundle, DataRecord)
    assert of_run is not None
    assert of_bundle.difference(of_run) is None
    assert schema.to_plain(of_bundle) == schema.to_plain(of_run) | {"found_at": "data.npz"}
    assert MANIFEST not in list(Bundle.open(bundles / "plain.ofa").names())


# -- without images ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secret(here: Path, bundles: Path) -> Path:
    """A bundle without images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        for name in ("secret.ofa", "again.ofa"):
            assert main(["pack", "run", "--out", str(bundles / name), "--no-images", "--subnets", "10", "--json"]) == 0
    return bundles / "secret.ofa"


def test_no_image_is_in_a_bundle_without_images(secret: Path, here: Path) -> None:
    bundle = Bundle.open(secret)
    assert not [name for name in bundle.names() if "image" in name]
    assert bundle.manifest["kept_images"] == {"train": 0, "validation": 0}
    kept = RunFiles.open(here / "run").images("train")
    assert kept is not None
    assert kept.pixels[0].tobytes() not in secret.read_bytes()
    assert secret.read_bytes() == (secret.parent / "again.ofa").read_bytes()


def test_the_data_set_is_read_once_for_all_statistics(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was read again for each subnet whose statistics torch computes: 128 times 60,000 files."""
    loads: list[Path] = []
    load = RunDirectory.data

    def counted(run: RunDirectory, *args: Any, **options: Any) -> Any:
        loads.append(Path(str(run.path)))
        return load(run, *args, **options)

    monkeypatch.chdir(here)
    monkeypatch.setattr(RunDirectory, "data", counted)
    monkeypatch.setattr(subnet_weights, "ARRAY_WORK", 0)
    assert main(["pack", "run", "--out", str(tmp_path / "x.ofa"), "--no-images", "--subnets", "10", "--json"]) == 0
    assert len(loads) == 1


def test_a_bundle_without_images_answers_from_its_subnets(
    secret: Path, here: Path, away: Path, tmp_path: Path, capsys: Capture
) -> None:
    statistics = RunFiles.open(secret).statistics()
    assert statistics is not None
    assert len(statistics) >= 5
    carried = {row.tobytes() for row in statistics.genes}
    for platform, limit, bound in QUESTIONS:
        question = ("--platform", platform, limit, bound)
        result = ofa(capsys, "query", secret, *question, "--out", tmp_path / "net")
        assert np.array(result["genes"], dtype=np.int8).tobytes() in carried
        assert f"list of {len(statistics)} subnets" in result["card"]["algorithm"]
        measured = figures(result["card"])["Top-1, validation (measured)"]
        assert "60 held-out validation images, before the run came here" in measured["source"]
        (tmp_path / "subnet.json").write_text(
            json.dumps(RunFiles.open(secret).space.decode(np.array([result["genes"]]))[0].to_dict())
        )
        ofa(capsys, "extract", here / "run", "--subnet", tmp_path / "subnet.json", "--out", tmp_path / "of-run")
        assert_equal(weights(tmp_path / "net"), weights(tmp_path / "of-run"))
        shutil.rmtree(tmp_path / "net")


def test_what_it_does_not_carry_is_one_line(secret: Path, away: Path, tmp_path: Path, capsys: Capture) -> None:
    options = ("--platform", "edge-int8", "--out", tmp_path / "net")
    line = error(capsys, "query", secret, *options, "--macs-m", 0.0001)
    assert "subnets that can be answered has" in line
    line = error(capsys, "query", secret, *options, "--algorithm", "exact")
    assert "algorithm is 'exact', but only" in line
    statistics = RunFiles.open(secret).statistics()
    assert statistics is not None
    space = statistics.space
    carried = {row.tobytes() for row in statistics.genes}
    other = next(row for row in space.sample(500, np.random.default_rng(0)) if row.tobytes() not in carried)
    (tmp_path / "subnet.json").write_text(json.dumps(space.decode(other[None])[0].to_dict()))
    line = error(capsys, "extract", secret, "--subnet", tmp_path / "subnet.json", "--out", tmp_path / "other")
    assert f"keeps no images, but the batch-norm statistics of {len(statistics)} subnets, and this is none of them" in line
    fleet = tmp_path / "fleet.csv"
    fleet.write_text("platform,macs_m\nedge-int8,0.06\nedge-int8,\n")
    answer = ofa(capsys, "query", secret, "--fleet", fleet, "--out", tmp_path / "answer.json", "--no-verify")
    assert answer["served"] == 2
    subnets = json.loads((tmp_path / "answer.json").read_text())["subnets"].values()
    assert all(np.array(subnet["genes"], dtype=np.int8).tobytes() in carried for subnet in subnets)
    front = ofa(capsys, "pareto", secret, "--platform", "edge-int8", "--x", "macs_m", "--out", tmp_path / "front.svg")
    assert front["platforms"][0]["measured"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--no-images", "--validation", "5"), "--validation is 5, but --no-images takes no image along"),
        (("--subnets", "5"), "--subnets is 5, but with images every subnet can be answered"),
        (("--validation", "61"), "--validation is 61; there are 60 validation images that can be packed"),
    ],
)
def test_options_that_do_not_go_together(
    options: tuple[str, ...], message: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(here)
    assert message in error(capsys, "pack", "run", "--out", tmp_path / "x.ofa", *options)
