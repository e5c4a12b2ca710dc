"""One step: who teaches whom; and the options of a recipe, all of which resume bit by bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ofa import Subnet, Supernet, extract
from ofa.data.augment.mixup import MixConfig, mix
from ofa.nets.elastic_blocks import ElasticBottleneck, ElasticMBConv
from ofa.runs.recipe import load_recipe, opened_spaces
from ofa.runs.run_directory import RunDirectory
from ofa.training.schedule import subnets_of_step
from ofa.training.step import GradientStep
from ofa.training.trainer import Trainer
from ofa.training.weight_average import WeightAverage
from tests.space_toys import toy_space
from tests.tiny import killed_after, write_recipe

SANDWICH = """
phases:
  - name: all
    epochs: 1
    peak_lr: 0.1
    opens: {everything: true}
    include: [largest, smallest]
    subnets_per_step: 3
    teacher: largest
    label_weight: 0
    divergence: alpha_divergence
"""
OPTIONS = """
average_decay: 0.9
drop_connect: 0.3
zero_gamma: true
mix: {mixup: 0.2, cutmix: 1.0}
"""


def sandwich(folder: Path, options: str = "", checkpoint_seconds: float = 1e9) -> Path:
    path = write_recipe(folder, checkpoint_seconds)
    text = path.read_text().replace("crop_padding: 1}", "crop_padding: 1, rand_augment: {operations: 1}}")
    path.write_text(text.partition("phases:")[0] + options + SANDWICH)
    return path


class Recorded(Supernet):
    """A supernet that keeps what it was asked and answered."""

    calls: list[tuple[Subnet, Tensor, float]]

    def forward(
        self,
        images: Tensor,
        subnet: Subnet,
        generator: torch.Generator | None = None,
        drop_connect: float = 0.0,
        activation_checkpointing: bool = False,
    ) -> Tensor:
        logits = super().forward(images, subnet, generator, drop_connect, activation_checkpointing)
        self.calls.append((subnet, logits.detach(), drop_connect))
        return logits


def test_the_largest_of_a_step_teaches_the_others(tmp_path: Path) -> None:
    recipe, space = load_recipe(sandwich(tmp_path, "drop_connect: 0.2\n"))
    phase = replace(recipe.phases[0], divergence="cross_entropy")
    recipe = replace(recipe, phases=(phase,))
    opened = opened_spaces(recipe, space)[0]
    assert opened == space
    net = Recorded(space, torch.Generator().manual_seed(0)).train()
    net.calls = []
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(6, 1, 12, 12, generator=generator), torch.arange(6) % 3
    loss = GradientStep.of_phase(net, recipe, 0, opened)(4, images, labels)
    assert [subnet for subnet, _, _ in net.calls] == subnets_of_step(opened, phase, recipe.seed, 0, 4, 12)
    assert [rate for _, _, rate in net.calls] == [0.2, 0, 0]
    logits = [logits for _, logits, _ in net.calls]
    soft = F.softmax(logits[0], dim=1)
    expected = F.cross_entropy(logits[0], labels, label_smoothing=0.1) + sum(F.cross_entropy(x, soft) for x in logits[1:])
    assert loss.item() == pytest.approx(float(expected) / 3, rel=1e-5)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def train(path: Path, folder: Path) -> RunDirectory:
    run = RunDirectory.create(folder, *load_recipe(path))
    Trainer(run, quiet=True).train()
    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("sandwich")
    return train(sandwich(folder, OPTIONS), folder / "run")


@pytest.mark.parametrize("saves", [4, 10, 11])
def test_every_option_resumes_bit_by_bit(
    saves: int, finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sandwich(tmp_path, OPTIONS, checkpoint_seconds=0)
    with killed_after(saves, monkeypatch):
        train(path, tmp_path / "run")
    torch.rand(3)
    run = train(path, tmp_path / "run")
    left, right = load_file(finished.weights_path), load_file(run.weights_path)
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Weights of a sandwich without options."""
    folder = tmp_path_factory.mktemp("plain")
    return load_file(train(sandwich(folder), folder / "run").weights_path)


@pytest.mark.parametrize("option", OPTIONS.strip().splitlines())
def test_each_option_changes_the_weights(option: str, plain: dict[str, Tensor], tmp_path: Path) -> None:
    weights = load_file(train(sandwich(tmp_path, option + "\n"), tmp_path / "run").weights_path)
    assert any(not torch.equal(weights[name], plain[name]) for name in plain)


def test_the_average_follows_and_starts_anew() -> None:
    net = Supernet(toy_space("tiny"), torch.Generator().manual_seed(0))
    average = WeightAverage(net, decay=0.5)
    name = "head.classifier.weight"
    before = net.state_dict()[name].clone()
    with torch.no_grad():
        net.get_parameter(name).add_(1.0)
    average.update(0)  # a young average keeps a tenth
    assert torch.allclose(average.net.state_dict()[name], before + 0.9)
    average.update(1000)
    assert torch.allclose(average.net.state_dict()[name], before + 0.95)
    average.restart()
    assert torch.equal(average.net.state_dict()[name], before + 1.0)
    assert not any(parameter.requires_grad for parameter in average.net.parameters())


@pytest.mark.parametrize("name", ["tiny", "deep"])
def test_residual_blocks_can_start_as_the_identity(name: str) -> None:
    space = toy_space(name)
    net = Supernet(space, torch.Generator().manual_seed(0))
    net.pass_inputs_through()
    blocks = [block for block in net.modules() if isinstance(block, (ElasticMBConv, ElasticBottleneck))]
    zeroed = [block for block in blocks if not block.project.norm.weight.any()]
    assert zeroed == [block for block in blocks if isinstance(block, ElasticBottleneck) or block.residual]
    assert zeroed
    module = extract(net, space.largest()).eval()
    for stage in module.stages:
        for block in list(stage)[1:]:  # its input is what an activation left, so a bottleneck's own changes nothing
            x = torch.rand(2, block.project.conv.out_channels, 4, 4)
            assert torch.equal(block(x), x)


def test_drop_connect_keeps_the_mean_and_skips_late_blocks_more() -> None:
    space = toy_space("tiny")
    net = Supernet(space, torch.Generator().manual_seed(0)).train()
    skipped: dict[int, float] = {}
    blocks = [block for block in net.modules() if isinstance(block, ElasticMBConv)]
    for number, block in enumerate(blocks):
        record = lambda *args, number=number: skipped.update({number: _skipped(*args)})  # noqa: E731
        block.register_forward_hook(record, with_kwargs=False)
    images = torch.randn(400, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    net(images, space.largest(), torch.Generator().manual_seed(2), drop_connect=0.6)
    residual = [number for number, block in enumerate(blocks) if block.residual]
    rates = [0.6 * number / (len(blocks) - 1) for number in residual]
    assert [skipped[number] for number in residual] == pytest.approx(rates, abs=0.08)
    assert rates[-1] == 0.6
    plain = Supernet(space, torch.Generator().manual_seed(0)).eval()
    assert torch.equal(plain(images, space.largest()), plain(images, space.largest(), drop_connect=0.6))


def _skipped(block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> float:
    """Share of images that came out as they went in."""
    if inputs[0].shape != output.shape:
        return 0.0
    return float((inputs[0] == output).flatten(1).all(1).float().mean())


@pytest.mark.parametrize("config", [MixConfig(mixup=0.4), MixConfig(cutmix=1.0)])
def test_labels_are_mixed_as_the_images_are(config: MixConfig) -> None:
    labels = torch.tensor([0, 1, 2, 1])
    images = labels.float().view(4, 1, 1, 1).expand(4, 1, 10, 10)  # an image is its label
    shares = set()
    for seed in range(20):
        mixed, targets = mix(images, labels, 3, config, np.random.default_rng(seed))
        assert torch.allclose(targets.sum(1), torch.ones(4))
        means = (targets * torch.arange(3)).sum(1)
        assert torch.allclose(mixed.mean((1, 2, 3)), means, atol=1e-5)
        shares.add(round(float(targets[0, 0]), 4))
        if config.cutmix:
            assert set(mixed.unique().tolist()) <= {0.0, 1.0, 2.0}
    assert len(shares) > 5
    assert images.unique().tolist() == [0, 1, 2]  # not in place
