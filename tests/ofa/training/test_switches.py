"""What a recipe can switch on for a GPU, as far as a CPU shows it: bf16, activation checkpointing, the fused optimiser."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ofa import Supernet, UserError
from ofa.distributed.devices import autocast, check_precision, multiplies_bf16
from ofa.distributed.world import World
from ofa.nets.elastic_layers import ElasticConv, ElasticNorm
from ofa.nets.plain import build_net
from ofa.runs.recipe import OptimiserConfig, Recipe, load_recipe, opened_spaces
from ofa.runs.run_directory import RunDirectory
from ofa.space.search_space import SearchSpace
from ofa.training.optimiser import make_optimiser, momenta, set_momenta
from ofa.training.step import GradientStep
from ofa.training.synchronised_norm import SynchronisedNorm
from ofa.training.trainer import Trainer
from tests.ofa.training.test_step import sandwich
from tests.space_toys import toy_space
from tests.tiny import killed_after, write_recipe

BF16 = "precision: bf16\nactivation_checkpointing: true\naverage_decay: 0.9\ndrop_connect: 0.3\n"


def train(path: Path, folder: Path) -> RunDirectory:
    run = RunDirectory.create(folder, *load_recipe(path))
    Trainer(run, quiet=True).train()
    return run


def first_step(space: SearchSpace, folder: Path, **changes: Any) -> tuple[float, Supernet]:
    """The loss of a first step of a sandwich over `space`, and the net with its gradients."""
    recipe, _ = load_recipe(sandwich(folder))
    recipe = replace(recipe, **changes)
    rng = torch.Generator().manual_seed(0)
    net = Supernet(space, rng).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    images = torch.randn(12, space.in_channels, 24, 24, generator=rng).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(12) % space.classes
    return float(GradientStep.of_phase(net, recipe, 0, opened_spaces(recipe, space)[0])(0, images, labels)), net


def gradients(net: Supernet) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}


# -- bf16 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wide", "deep"])
def test_a_step_in_bf16_is_close_to_one_in_float32(name: str, tmp_path: Path) -> None:
    space = toy_space(name)
    exact_loss, exact = first_step(space, tmp_path)
    loss, net = first_step(space, tmp_path, precision="bf16")
    assert loss != exact_loss
    assert loss == pytest.approx(exact_loss, rel=0.01)
    found, wanted = gradients(net), gradients(exact)
    assert found.keys() == wanted.keys()
    assert {value.dtype for value in [*found.values(), *net.state_dict().values()]} == {torch.float32, torch.int64}
    flat, flat_wanted = (torch.cat([values[key].flatten() for key in wanted]) for values in (found, wanted))
    assert float(torch.cosine_similarity(flat, flat_wanted, dim=0)) > 0.8  # small maps and few images: 0.89 in `deep`
    for key, value in exact.named_buffers():
        assert torch.allclose(net.get_buffer(key), value, rtol=0.05, atol=0.02), key


def test_kernel_transforms_stay_float32_in_bf16() -> None:
    conv = ElasticConv(6, 6, (3, 5, 7), depthwise=True, transforms=True)
    for parameter in conv.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        weight = conv.weight_for(6, 6, 3)
        assert conv(torch.ones(1, 6, 8, 8), 6, 3).dtype == torch.bfloat16
    assert torch.equal(weight, conv.weight_for(6, 6, 3))


def test_the_teacher_speaks_bf16_and_soft_labels_are_float32(tmp_path: Path) -> None:
    recipe, space = load_recipe(write_recipe(tmp_path))
    opened = opened_spaces(recipe, space)[1]
    teacher = build_net(space, space.largest(), torch.Generator().manual_seed(1)).train()
    spoken: list[torch.dtype] = []
    teacher.register_forward_hook(lambda module, inputs, output: spoken.append(output.dtype))
    net = Supernet(space, torch.Generator().manual_seed(0)).train()
    images, labels = torch.randn(6, 1, 12, 12, generator=torch.Generator().manual_seed(2)), torch.arange(6) % 3
    step = GradientStep.of_phase(net, replace(recipe, precision="bf16"), 1, opened, teacher)
    soft = step._soft_labels(images)
    assert spoken == [torch.bfloat16]
    assert soft is not None
    assert torch.allclose(soft.sum(1), torch.ones(6), atol=1e-6)  # bf16 would be off by up to 4e-3
    assert step(0, images, labels).dtype == torch.float32


def check_synchronised_norm(device: str, dtype: torch.dtype) -> None:
    """Alone it is the plain norm, of channels-last maps too, with float32 statistics."""

    class Only(World):
        def stack(self, tensor: Tensor) -> Tensor:
            return tensor[None]

    rng = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(8, 6, 5, 5, generator=rng).to(device, dtype) + 3 for _ in range(2))
    found = []
    for norm in (ElasticNorm(6).to(device), SynchronisedNorm(ElasticNorm(6).to(device), Only())):
        inputs = x.clone(memory_format=torch.channels_last).requires_grad_()
        out = norm(inputs)
        assert out.dtype == dtype
        torch.autograd.backward(out, gradient)
        found.append([out, inputs.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
    for place, (wanted, value) in enumerate(zip(*found, strict=True)):
        assert value.dtype == wanted.dtype
        exact = place > 1 or dtype == torch.float32  # what bf16 holds is rounded in another order
        tolerance = {"rtol": 1e-4, "atol": 1e-5} if exact else {"rtol": 2e-2, "atol": 5e-2}
        assert torch.allclose(value.float(), wanted.float(), **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_synchronised_norm_alone_is_the_plain_one(dtype: torch.dtype) -> None:
    check_synchronised_norm("cpu", dtype)


def test_a_synchronised_norm_gives_its_gradient_what_a_gpu_wants() -> None:
    """For channels-last maps CUDA's kernel fails where the statistics that training saves are not even empty tensors."""
    seen: list[Any] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten.native_batch_norm_backward.default:
                seen.append(args)
            return func(*args, **(kwargs or {}))

    with Watch():
        check_synchronised_norm("cpu", torch.float32)
    assert len(seen) == 2  # the plain one's is PyTorch's own
    assert all(isinstance(saved, Tensor) for args in seen for saved in args[5:7])


def test_training_in_bf16_learns(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    largest_alone, _, _ = path.read_text().replace(", warmup_epochs: 1", "").partition("  - {name: kernel")
    path.write_text(largest_alone + "precision: bf16\n")
    run = train(path, tmp_path / "run")
    rows = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    assert rows[1]["loss"] < 0.9 * rows[0]["loss"]
    assert rows[1]["top1_largest"] > 0.6  # chance is 0.33


def test_bf16_and_checkpointing_resume_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def recipe(checkpoint_seconds: float) -> Path:
        path = sandwich(tmp_path, BF16, checkpoint_seconds)
        path.write_text(
            path.read_text()
            .replace("subnets_per_step: 3", "subnets_per_step: 2")
            .replace("validation: 60", "validation: 160")
        )
        return path

    whole = train(recipe(1e9), tmp_path / "whole")
    path = recipe(0)
    with killed_after(2, monkeypatch):
        train(path, tmp_path / "run")
    left, right = load_file(whole.weights_path), load_file(train(path, tmp_path / "run").weights_path)
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def test_a_gpu_without_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    with pytest.raises(UserError, match="precision is bf16, which Tesla V100 does not compute; use auto or fp32"):
        check_precision("bf16", torch.device("cuda"))
    check_precision("fp32", torch.device("cuda"))
    check_precision("bf16", torch.device("cpu"))
    check_precision("auto", torch.device("cuda"))
    assert not multiplies_bf16(torch.device("cuda"))


@pytest.mark.parametrize(("facts", "dtype"), [({"avx512_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)])
def test_auto_is_bf16_where_the_processor_multiplies_it(
    facts: dict[str, bool], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: facts, raising=False)
    with autocast("auto", torch.device("cpu")):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype


# -- activation checkpointing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["wide", "deep"])
def test_recomputed_blocks_change_nothing(name: str, precision: str, tmp_path: Path) -> None:
    space = toy_space(name)
    options: dict[str, Any] = {"precision": precision, "drop_connect": 0.4}
    loss, net = first_step(space, tmp_path, **options)
    again_loss, again = first_step(space, tmp_path, activation_checkpointing=True, **options)
    assert again_loss == loss
    wanted, found = gradients(net), gradients(again)
    assert found.keys() == wanted.keys()
    assert [key for key in wanted if not torch.equal(found[key], wanted[key])] == []
    state, again_state = net.state_dict(), again.state_dict()  # running statistics among them
    assert [key for key in state if not torch.equal(again_state[key], state[key])] == []
    assert {norm.momentum for norm in again.modules() if isinstance(norm, nn.BatchNorm2d)} == {0.1}


def test_recomputed_blocks_keep_less(tmp_path: Path) -> None:
    space = toy_space("wide")

    def kept(**options: Any) -> int:
        sizes: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        net = Supernet(space, torch.Generator().manual_seed(0)).train()
        images = torch.randn(4, 2, 16, 16, generator=torch.Generator().manual_seed(1))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            net(images, space.largest(), torch.Generator(), **options)
        return sum(sizes)

    assert kept(activation_checkpointing=True) < 0.5 * kept()


# -- the optimiser -----------------------------------------------------------------------------------------------------


def check_fused_optimiser(device: str) -> None:
    """It takes the steps of the plain one, also for parameters that get gradients later than others, and after a restart."""
    space = toy_space("wide")
    config = OptimiserConfig(momentum=0.9, weight_decay=1e-2)
    plain = Supernet(space, torch.Generator().manual_seed(0)).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fused = deepcopy(plain)
    nets = {plain: make_optimiser(plain, config, fused=False), fused: make_optimiser(fused, config, fused=True)}
    images = torch.randn(4, 2, 16, 16, generator=torch.Generator().manual_seed(1)).to(device)
    for number, subnet in enumerate([space.smallest(), space.smallest(), space.largest(), space.smallest()]):
        if number == 3:  # as after a restart: momenta come from a file, which knows no memory format
            stored = {name: value.contiguous() for name, value in momenta(fused, nets[fused]).items()}
            nets[fused] = make_optimiser(fused, config, fused=True)
            set_momenta(fused, nets[fused], stored)
        plain.zero_grad(set_to_none=True)
        plain(images, subnet).square().mean().backward()
        for parameter, other in zip(plain.parameters(), fused.parameters(), strict=True):
            other.grad = None if parameter.grad is None else parameter.grad.clone()
        for optimiser in nets.values():
            for group in optimiser.param_groups:
                group["lr"] = 0.1
            optimiser.step()
    for (name, wanted), found in zip(plain.named_parameters(), fused.parameters(), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6), name
        assert nets[fused].state[found]["momentum_buffer"].stride() == found.stride()


def test_the_fused_optimiser_takes_the_steps_of_the_plain_one() -> None:
    check_fused_optimiser("cpu")
    assert make_optimiser(nn.Linear(2, 2), OptimiserConfig()).defaults["fused"] is None  # a CPU's steps stay as they were


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("precision: fp16", r"tiny\.yaml:\d+: precision is 'fp16'; allowed are fp32, bf16"),
        ("precision: 16", r"tiny\.yaml:\d+: precision: expected text, got 16"),
        ("activation_checkpointing: 1", r"tiny\.yaml:\d+: activation_checkpointing: expected true or false, got 1"),
    ],
)
def test_mistakes_name_place_value_and_what_is_allowed(line: str, message: str, tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=message):
        load_recipe(path)


def test_everything_is_off_by_default(tmp_path: Path) -> None:
    recipe: Recipe = load_recipe(write_recipe(tmp_path))[0]
    assert (recipe.precision, recipe.activation_checkpointing) == ("fp32", False)
