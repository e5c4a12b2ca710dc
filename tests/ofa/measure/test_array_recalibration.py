"""Recalibration on numpy arrays: the statistics of torch's, up to rounding, for every kind of block and activation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ofa import extract, recalibrate_batch_norm
from ofa.errors import UserError
from ofa.measure.array_recalibration import recalibrated
from ofa.nets.slices import subnet_tensors
from ofa.space.activations import ACTIVATIONS
from tests.ofa.nets.test_extraction import scrambled, seeded, subnets_of
from tests.space_toys import toy_space, wide_space

SPACES = ["fmnist", "cifar10", "tiny", "wide", "deep", "gated"]


@pytest.mark.parametrize("name", SPACES)
def test_statistics_are_those_of_torch(name: str) -> None:
    space = toy_space(name)
    net = scrambled(space, 3)
    side = space.resolutions[0] - 1  # odd: windows of pools are cut at the edge
    batches = [torch.randn(n, space.in_channels, side, side, generator=seeded(n)) * 2 + 1 for n in (6, 3)]
    arrays = {key: value.numpy() for key, value in net.state_dict().items()}
    for subnet in subnets_of(space, 2, seed=4):
        module = extract(net, subnet)
        recalibrate_batch_norm(module, batches)
        state = subnet_tensors(arrays, space, subnet)
        found = recalibrated(space, subnet, state, [batch.numpy().transpose(1, 2, 3, 0) for batch in batches])
        assert found.keys() == state.keys()
        changed = {key for key in found if not np.array_equal(found[key], state[key])}
        assert changed == {key for key in found if key.endswith(("running_mean", "running_var"))}
        for key, value in module.state_dict().items():
            assert found[key].dtype == value.numpy().dtype
            np.testing.assert_allclose(found[key], value.numpy(), rtol=1e-4, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_on_arrays_are_those_of_torch(name: str) -> None:
    x = np.concatenate([np.linspace(-8, 8, 401), [-200.0, 200.0]]).astype(np.float32)
    expected = getattr(nn, ACTIVATIONS[name].module)()(torch.from_numpy(x)).numpy()
    found = x.copy()
    ACTIVATIONS[name].array(found)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_no_images_are_an_error() -> None:
    space = wide_space()
    arrays = {key: value.numpy() for key, value in scrambled(space, 0).state_dict().items()}
    state = subnet_tensors(arrays, space, space.smallest())

    def none() -> Iterator[np.ndarray]:
        yield from ()

    with pytest.raises(UserError, match="batch-norm recalibration got no images"):
        recalibrated(space, space.smallest(), state, none())


def test_epsilon_of_the_space_counts() -> None:
    space, other = wide_space(norm_eps=1e-5), replace(wide_space(), norm_eps=0.5)
    arrays = {key: value.numpy() for key, value in scrambled(space, 0).state_dict().items()}
    state = subnet_tensors(arrays, space, space.smallest())
    batch = np.random.default_rng(0).standard_normal((2, 12, 12, 5)).astype(np.float32)
    one, two = (recalibrated(s, s.smallest(), state, [batch])["head.conv.norm.running_var"] for s in (space, other))
    assert not np.allclose(one, two, rtol=0.01)
