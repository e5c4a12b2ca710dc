"""Slices of a supernet's weights as numpy arrays: the same bits as the torch extraction has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ofa import extract
from ofa.nets.slices import ordered_product, subnet_tensors
from ofa.space.layers import layers, named_blocks
from tests.ofa.nets.test_extraction import SPACES, scrambled, seeded, subnets_of
from tests.space_toys import toy_space


@pytest.mark.parametrize("name", [*SPACES, "gated"])
def test_numpy_slices_are_those_of_extraction_bit_by_bit(name: str) -> None:
    """All block kinds, kernel transforms, elastic squeeze-excite, widths, deep stems; extraction equals the supernet."""
    space = toy_space(name)
    net = scrambled(space, 5)
    arrays = {key: value.numpy() for key, value in net.state_dict().items()}
    for subnet in subnets_of(space, 3, seed=7):
        expected = extract(net, subnet).state_dict()
        found = subnet_tensors(arrays, space, subnet)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key].dtype == value.numpy().dtype, key
            assert np.array_equal(found[key], value.numpy()), key


def test_an_ordered_product_is_a_product_and_the_same_in_both_libraries() -> None:
    rows, matrix = torch.randn(40, 1, 25, generator=seeded(0)), torch.randn(25, 25, generator=seeded(1))
    found = ordered_product(rows, matrix)
    torch.testing.assert_close(found, torch.nn.functional.linear(rows, matrix), rtol=1e-5, atol=1e-5)
    assert np.array_equal(ordered_product(rows.numpy(), matrix.numpy()), found.numpy())


@pytest.mark.parametrize("name", [*SPACES, "gated"])
def test_names_of_layers_are_those_of_the_supernet(name: str) -> None:
    space = toy_space(name)
    weights = {key for key in scrambled(space, 0).state_dict() if key.endswith(".weight") and ".norm." not in key}
    ops = 0
    for subnet in subnets_of(space, 4, seed=1):
        for block in named_blocks(space, subnet):
            named = layers(block.shape)
            assert list(named.values()) == [op for op in block.shape.ops if op.params]
            assert {f"{block.name}.{layer}{'.conv' if op.norm else ''}.weight" for layer, op in named.items()} <= weights
            ops += len(named)
    assert ops > 10
