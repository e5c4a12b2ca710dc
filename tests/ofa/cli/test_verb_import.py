"""`ofa import`: published weights become a run like any other, or a subnet; what does not fit is one line."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from ofa import Supernet, UserError, extract, load_subnet, official, recalibrate_batch_norm
from ofa.cli.main import main
from ofa.cli.shared.options import weights_digest
from ofa.deploy.subnet_directory import read_subnet
from ofa.files.vouched import read_vouched_json
from ofa.official import imagenet
from ofa.official.checkpoint import SUPERNETS
from ofa.runs.run_directory import RunDirectory
from ofa.space.search_space import SearchSpace
from ofa.space.subnet import Subnet
from ofa.training import transfer
from search.predictors.ridge import fit_ridge
from search.predictors.storage import save_predictor
from tests import fill
from tests.published_toys import random_images, write_checkpoint, write_photos
from tests.verbs import error, figures, ofa


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Supernet]:
    return write_checkpoint(tmp_path_factory.mktemp("published"))


@pytest.fixture
def imported(published: tuple[Path, Path, Supernet], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    checkpoint, space, _ = published
    ofa(capsys, "import", checkpoint, "--space", space, "--run", tmp_path / "run")
    return tmp_path / "run"


def test_a_supernet_is_a_run(published: tuple[Path, Path, Supernet], imported: Path) -> None:
    checkpoint, _, net = published
    run = RunDirectory.open(imported)
    assert run.space == net.space
    ours = run.supernet().state_dict()
    assert all(torch.equal(ours[key], value) for key, value in net.state_dict().items())
    record = run.record()
    assert record is not None
    assert (record.mean, record.std, record.channels) == (imagenet.MEAN, imagenet.STD, 3)
    assert (len(record.classes), record.classes[0], record.classes[999]) == (1000, "n01440764", "n15075141")
    assert imagenet.in_words(record.classes)[281] == "tabby, tabby cat"
    assert run.recipe.data.normalise is not None
    assert run.recipe.data.normalise.mean == imagenet.MEAN
    origin = read_vouched_json(imported / "import.json", "")
    assert origin["file"] == checkpoint.name


def test_importing_again_changes_nothing_and_other_weights_are_refused(
    published: tuple[Path, Path, Supernet], imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, space, net = published
    before = {path.name: path.read_bytes() for path in imported.iterdir() if path.is_file()}
    ofa(capsys, "import", checkpoint, "--space", space, "--run", imported)
    assert {path.name: path.read_bytes() for path in imported.iterdir() if path.is_file()} == before
    state = official.to_official_state_dict(net.state_dict(), net.space)
    torch.save({key: value + 1 for key, value in state.items()}, tmp_path / "other")
    line = error(capsys, "import", tmp_path / "other", "--space", space, "--run", imported)
    assert f"{imported}: holds another run; give another --run, or delete the folder" in line
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    line = error(capsys, "import", checkpoint, "--space", space, "--run", tmp_path / "full")
    assert "full: exists and is no run directory; give another --run" in line
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--space", "SPACE"], "give --run DIR for a supernet, or --out DIR for a specialised net; neither is given"),
        (["--run", "run", "--out", "out"], "both are given"),
        (["--run", "run", "--resolution", "32"], "--resolution goes with a specialised net, which --out DIR is for"),
        (["--out", "out", "--predictor", "p.pth"], "--predictor goes with a supernet, which --run DIR is for"),
        (["--run", "run", "--space", "mine"], "unknown space 'mine'"),
        (["--run", "run"], r"none of the published supernets (mbv3-w1.0, mbv3-w1.2, "),
        (["--run", "run", "--space", "mbv3-w1.0"], "mbv3-w1.0: keys do not fit: missing keys: blocks."),
        (["--run", "run", "--space", "SPACE", "--predictor", "NET"], "not one of the published predictors"),
        (["--run", "run", "--space", "SPACE", "--predictor", "no.pth"], "no.pth: no such file"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    published: tuple[Path, Path, Supernet],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    checkpoint, space, _ = published
    monkeypatch.chdir(tmp_path)
    words = [{"SPACE": str(space), "NET": str(checkpoint)}.get(word, word) for word in options]
    assert message in error(capsys, "import", checkpoint, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", ["shape", "dtype", "nan", "fewer channels"])
def test_weights_that_do_not_fit_are_named(
    published: tuple[Path, Path, Supernet], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    _, space, net = published
    state = official.to_official_state_dict(net.state_dict(), net.space)
    key = "first_conv.conv.weight"
    other = {
        "shape": (state[key][:4], "stem.first.conv.weight is float32[4, 3, 3, 3]; expected [8, 3, 3, 3]"),
        "dtype": (state[key].int(), "stem.first.conv.weight is int32[8, 3, 3, 3]; expected"),
        "nan": (state[key] * float("nan"), "stem.first.conv.weight has values that are not finite"),
        "fewer channels": (state[key][:, :1], "expected [8, 3, 3, 3]"),
    }
    torch.save(state | {key: other[change][0]}, tmp_path / "net")
    line = error(capsys, "import", tmp_path / "net", "--space", space, "--run", tmp_path / "run")
    assert f"{tmp_path / 'net'}: tiny-imagenet: " in line
    assert other[change][1] in line


def test_half_precision_and_absent_counts_are_taken(
    published: tuple[Path, Path, Supernet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, space, net = published
    state = official.to_official_state_dict(net.state_dict(), net.space)
    torch.save({k: v.half() for k, v in state.items() if not k.endswith("num_batches_tracked")}, tmp_path / "net")
    ofa(capsys, "import", tmp_path / "net", "--space", space, "--run", tmp_path / "run")
    ours = RunDirectory.open(tmp_path / "run").supernet().state_dict()
    for key, value in net.state_dict().items():
        assert torch.equal(ours[key], value.half().float() if value.is_floating_point() else torch.zeros_like(value))


def test_another_published_supernet_is_recognised_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Zeros, but of the published names and shapes."""
    shapes = fill.golden("mbv3-w1.0")["state_dict"]
    state = {
        key: torch.zeros(shape, dtype=torch.int64 if "num_batches" in key else torch.float32)
        for key, shape in shapes.items()
    }
    torch.save({"state_dict": state}, tmp_path / "net")
    line = error(capsys, "import", tmp_path / "net", "--space", "mbv3-w1.2", "--run", tmp_path / "run")
    assert "net: holds the supernet of mbv3-w1.0, not of mbv3-w1.2; give --space mbv3-w1.0" in line
    assert ofa(capsys, "import", tmp_path / "net", "--run", tmp_path / "run")["space"] == "mbv3-w1.0"


# -- images, queries, training on ----------------------------------------------------------------------------------------


@pytest.fixture
def queried(imported: Path) -> Path:
    """The imported run with a predictor that knows two of its three resolutions."""
    _give_predictor(imported)
    return imported


def _give_predictor(folder: Path) -> None:
    """A predictor of any accuracies to an imported run, as if it were the published one."""
    run = RunDirectory.open(folder)
    genes = run.space.sample(40, np.random.default_rng(0))
    predictor = fit_ridge(run.space, genes, np.linspace(0.4, 0.7, 40))
    facts = {"source": "the published predictor (tiny.pth)", "weights": weights_digest(run)}
    save_predictor(folder / "predictor", predictor, facts)


QUERY = ("--platform", "edge-int8", "--macs-m", 1)


def test_without_images_a_query_answers_without_weights(
    queried: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = ofa(capsys, "query", queried, *QUERY, "--out", tmp_path / "out")
    assert not answer["verified"]
    lines = figures(answer["card"])
    assert lines["Top-1, validation (predicted)"]["source"] == "predicted by the published predictor (tiny.pth)"
    assert "no weights: the run has no images to recalibrate batch norm on" in answer["card"]["weights"]
    assert not (tmp_path / "out" / "weights.safetensors").exists()
    with pytest.raises(UserError, match=r"subnet\.json: was written without weights"):
        load_subnet(tmp_path / "out")
    space, subnet = read_subnet(tmp_path / "out")
    assert space.encode(subnet)[0].tolist() == answer["genes"]
    ofa(capsys, "query", queried, *QUERY, "--out", tmp_path / "out", "--unrecalibrated")
    assert "NOT RECALIBRATED" in (tmp_path / "out" / "card.md").read_text()
    images = random_images(space, subnet.resolution)
    with torch.inference_mode():
        assert torch.equal(load_subnet(tmp_path / "out")(images), RunDirectory.open(queried).supernet()(images, subnet))
    ofa(capsys, "query", queried, *QUERY, "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "weights.safetensors").exists()
    drawn = ofa(capsys, "pareto", queried, "--platform", "edge-int8", "--out", tmp_path / "front.png", "--samples", 50)
    assert not drawn["verified"]
    for words in (
        ("evaluate", queried),
        ("predictor", queried),
        ("extract", queried, "--subnet", "largest", "--out", tmp_path / "largest"),
        ("pack", queried, "--out", tmp_path / "run.ofa"),
    ):
        line = error(capsys, *words)
        assert f"{queried}: was imported without images, so batch norm cannot be recalibrated and nothing measured" in line


def test_photos_recalibrate(
    published: tuple[Path, Path, Supernet], queried: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Photos in any folders: the weights of a query are those of the library, recalibrated on what the run keeps."""
    checkpoint, space, net = published
    photos = write_photos(tmp_path / "photos", {"a": 20, "b": 13}, part="holidays")
    words = ("import", checkpoint, "--space", space, "--run", queried, "--data", photos)
    assert ofa(capsys, *words)["kept_images"] == 33
    shutil.rmtree(photos)
    answer = ofa(capsys, "query", queried, *QUERY, "--out", tmp_path / "out")
    assert not answer["verified"]
    assert "weights" not in answer["card"]
    _, subnet = read_subnet(tmp_path / "out")
    kept = RunDirectory.open(queried).kept_data()
    assert kept is not None
    assert (kept.mean, kept.sizes) == (imagenet.MEAN, {"train": 33})
    module = extract(net, subnet).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = kept.batches("train", batch_size=33, resolution=subnet.resolution, shuffle=False, augment=False)
    recalibrate_batch_norm(module, (images for images, _ in batches))
    expected, found = module.state_dict(), load_subnet(tmp_path / "out").state_dict()
    assert any(not torch.equal(value, extract(net, subnet).state_dict()[key]) for key, value in found.items())
    assert all(torch.allclose(found[key], value, rtol=1e-4, atol=1e-5) for key, value in expected.items())
    ofa(capsys, "extract", queried, "--subnet", "smallest", "--out", tmp_path / "smallest")
    for split in ("train", "validation"):
        assert "photos without labels; nothing can be measured on them" in error(
            capsys, "evaluate", queried, "--split", split
        )
    line = error(capsys, "finetune", tmp_path / "out", "--run", queried)
    assert f"{queried}: keeps photos without labels, so nothing can be measured, and no net trained" in line
    assert "can be measured" in error(capsys, "predictor", queried, "--samples", 12, "--json")
    ofa(capsys, "pack", queried, "--out", tmp_path / "run.ofa")
    ofa(capsys, "query", tmp_path / "run.ofa", *QUERY, "--out", tmp_path / "packed")
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("out", "packed")]
    assert weights[0] == weights[1]


def test_imagenet_is_measured(
    published: tuple[Path, Path, Supernet], imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A data set whose classes are ImageNet's synsets; `val` is what is measured on."""
    checkpoint, space, _ = published
    rng = np.random.default_rng(0)
    labels = np.arange(1000)
    arrays = {part: rng.integers(0, 256, (1000, 16, 16, 3), dtype=np.uint8) for part in ("x_train", "x_val")}
    np.savez(tmp_path / "imagenet.npz", y_train=labels, y_val=labels, classes=list(imagenet.classes()), **arrays)
    ofa(capsys, "import", checkpoint, "--space", space, "--run", imported, "--data", tmp_path / "imagenet.npz")
    run = RunDirectory.open(imported)
    assert run.recipe.data.source == str(tmp_path / "imagenet.npz")
    assert len(run.images("train") or ()) == 1000
    result = ofa(capsys, "evaluate", imported, "--subnet", "smallest", "--images", 50)
    assert (result["split"], result["images"]) == ("validation", 50)


def test_data_that_is_none(
    published: tuple[Path, Path, Supernet], imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, space, _ = published
    words = ("import", checkpoint, "--space", space, "--run", imported, "--data")
    assert "--data is nowhere; there is no such folder or file" in error(capsys, *words, "nowhere")
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'}: no images in it or below it; known are" in error(capsys, *words, tmp_path / "empty")
    (tmp_path / "empty" / "a.jpg").write_bytes(b"no image")
    assert "a.jpg" in error(capsys, *words, tmp_path / "empty")
    assert f"{checkpoint}: no such folder of images" in error(capsys, *words, checkpoint)
    assert not (imported / "images").exists()


def test_training_goes_on_with_own_images(
    imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """40 photos of new classes: another classifier, ImageNet's normalisation, epochs by the rule for imported weights."""
    photos = write_photos(tmp_path / "photos", {"cat": 20, "dog": 20})
    words = ["train", "--init", imported, "--data", photos, "--run", tmp_path / "own", "--resolutions", 16, 24]
    monkeypatch.setattr(transfer, "MOST_IMPORTED_EPOCHS", 3)
    assert main([*map(str, words), "--quiet"]) == 0
    start = f"starts from the supernet of {imported}, with a new classifier: 2 classes instead of 1000"
    assert start in capsys.readouterr().err
    run = RunDirectory.open(tmp_path / "own")
    record = run.record()
    assert record is not None
    assert (record.classes, record.mean) == (("cat", "dog"), imagenet.MEAN)
    assert run.space.resolutions == (16, 24)
    assert (run.recipe.phases[0].epochs, run.recipe.phases[0].peak_lr) == (3, 0.01)
    assert run.supernet().head.classifier.weight.shape[0] == 2
    assert not run.import_path.exists()
    ofa(capsys, "predictor", tmp_path / "own", "--samples", 12)
    assert ofa(capsys, "query", tmp_path / "own", *QUERY, "--out", tmp_path / "out")["verified"]


@pytest.mark.parametrize(("images", "epochs"), [(36, 100), (1000, 32), (19_999, 2), (20_000, 32), (10**6, 2)])
def test_epochs_from_imported_weights(images: int, epochs: int) -> None:
    assert transfer._imported_epochs(images) == epochs


# -- specialised nets ----------------------------------------------------------------------------------------------------


def net_config(space: SearchSpace, subnet: Subnet) -> dict[str, Any]:
    """As the authors write one."""
    blocks, channels = [], subnet.stem.width
    for stage in subnet.stages:
        for block in stage.blocks:
            layer = {"name": "MBInvertedConvLayer", "in_channels": channels, "out_channels": stage.width}
            layer |= {"kernel_size": block.kernel, "expand_ratio": block.expand, "mid_channels": None}
            blocks.append({"name": "MobileInvertedResidualBlock", "mobile_inverted_conv": layer, "shortcut": None})
            channels = stage.width
    return {"name": "MobileNetV3", "bn": {"momentum": 0.1, "eps": 0.001}, "blocks": blocks}


def write_specialised(folder: Path, net: Supernet, subnet: Subnet, size: int) -> None:
    folder.mkdir()
    theirs = official.to_official_state_dict(extract(net, subnet).state_dict(), net.space, subnet)
    torch.save({"state_dict": theirs}, folder / "init")
    (folder / "net.config").write_text(json.dumps(net_config(net.space, subnet)))
    (folder / "run.config").write_text(json.dumps({"image_size": size}))


def test_a_specialised_net_is_a_subnet_directory(
    published: tuple[Path, Path, Supernet],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also at a size that its space does not have; batch norm's epsilon is the config's."""
    _, space, net = published
    subnet = net.space.decode(net.space.sample(1, np.random.default_rng(3)))[0]
    write_specialised(tmp_path / "net", net, subnet, 28)
    out = tmp_path / "subnet"
    answer = ofa(capsys, "import", tmp_path / "net", "--space", space, "--out", out, "--platform", "edge-int8")
    assert answer["subnet"]["resolution"] == 28
    assert answer["card"]["input"]["mean"] == list(imagenet.MEAN)
    assert answer["card"]["input"]["classes"][281] == "tabby, tabby cat"
    images = random_images(net.space, 28)
    expected = extract(net, subnet)
    module = load_subnet(out)
    with torch.inference_mode():
        assert not torch.equal(module(images), expected(images))  # another epsilon
        for part in expected.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.eps = 0.001
        assert torch.equal(module(images), expected(images))
    namespace: dict[str, Any] = {"__file__": str(out / "load.py"), "__name__": "__main__"}
    monkeypatch.setattr("sys.argv", ["load.py"])
    exec(compile((out / "load.py").read_text(), "load.py", "exec"), namespace)
    assert capsys.readouterr().out.count(":") == 1


def test_mistakes_in_a_specialised_net(
    published: tuple[Path, Path, Supernet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, space, net = published
    subnet = net.space.largest()
    folder = tmp_path / "net"
    write_specialised(folder, net, subnet, 32)
    words = ["import", folder, "--space", space, "--out", tmp_path / "out"]

    def with_file(name: str, content: str, message: str) -> None:
        before = (folder / name).read_bytes()
        (folder / name).write_text(content)
        assert message in error(capsys, *words)
        (folder / name).write_bytes(before)

    config = net_config(net.space, subnet)
    with_file("net.config", "{", "net.config:1: not valid JSON")
    with_file("net.config", "[1]", "net.config: holds [1]; expected the net.config of a published net (blocks)")
    with_file("net.config", json.dumps(config | {"blocks": config["blocks"][:1]}), "blocks of [8] channels are not those of")
    with_file(
        "net.config", json.dumps(config | {"name": "ResNets"}), "is of a ResNets; tiny-imagenet has blocks of kind mbconv"
    )
    with_file("net.config", json.dumps(config | {"blocks": [3]}), "blocks[0] has no mobile_inverted_conv")
    with_file("net.config", json.dumps(config | {"bn": {"eps": -1}}), "norm_eps")
    with_file("net.config", json.dumps(config | {"blocks": config["blocks"][:2]}), "unexpected keys: blocks.2.")
    with_file("run.config", '{"image_size": "big"}', "run.config: image_size is big; expected a whole number of pixels")
    with_file("run.config", '{"image_size": 2}', "resolution is 2; expected a whole number of at least")
    with_file("init", "<html>", "init: is a web page")
    assert "none of the published spaces" in error(capsys, "import", folder, "--out", tmp_path / "out")
    assert "5to3_matrix" in error(capsys, "import", checkpoint, "--config", folder / "net.config", *words[2:])
    (folder / "run.config").unlink()
    assert "run.config: no such file, so --resolution must say" in error(capsys, *words)
    assert not (tmp_path / "out").exists()
    ofa(capsys, *words, "--resolution", 24)
    assert load_subnet(tmp_path / "out") is not None


# -- equality with the published package ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference_fill(reference: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_fill", reference / "golden" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.reference
@pytest.mark.parametrize("name", SUPERNETS)
def test_logits_are_those_of_the_published_package(
    reference_fill: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A file as the authors write it, `ofa import`, `ofa extract` or `ofa query`, `ofa.load_subnet`: the golden logits."""
    golden, seed = fill.golden(name), 7
    state = {key: torch.tensor(reference_fill.fill(key, tuple(shape), seed)) for key, shape in golden["state_dict"].items()}
    torch.save({"state_dict": state}, tmp_path / SUPERNETS[name], _use_new_zipfile_serialization=False)
    del state
    answer = ofa(capsys, "import", tmp_path / SUPERNETS[name], "--run", tmp_path / "run")
    assert answer["space"] == name
    run, folder = tmp_path / "run", tmp_path / "subnet"
    rows = [row for row in golden["forward"] if row["logits"]["norm"] < 1000]  # larger ones explode (test_parity.py)
    for row in (rows[0], rows[-1]):
        arch = tmp_path / "arch.json"
        arch.write_text(json.dumps({**row["arch"], "image_size": row["size"]}))
        ofa(capsys, "extract", run, "--subnet", arch, "--out", folder, "--unrecalibrated")
        check_logits(reference_fill, folder, row, seed)
    _give_predictor(run)
    size = rows[0]["size"]
    question = ("--minimize", "macs_m", "--min-top1", 0.01, "--fix", f"resolutions={size}")  # the first row is the smallest
    ofa(capsys, "query", run, "--platform", "edge-int8", *question, "--out", folder, "--unrecalibrated")
    check_logits(reference_fill, folder, rows[0], seed)


def check_logits(reference_fill: ModuleType, folder: Path, row: dict[str, Any], seed: int) -> None:
    """The network of a folder gives the golden logits of a golden image."""
    images = torch.tensor(reference_fill.image(row["image"], row["batch"], row["size"], seed))
    with torch.inference_mode():
        logits = load_subnet(folder)(images)
    first = torch.tensor(row["logits"]["first"])
    rms = row["logits"]["norm"] / logits.numel() ** 0.5
    assert (logits[:, : first.shape[1]] - first).abs().max() < 2e-4 * rms
    assert float(logits.norm()) == pytest.approx(row["logits"]["norm"], rel=1e-4)
