"""The model of TensorFlow Lite Micro's memory against figures of its interpreter, and as a platform's metric.

The figures were measured by benchmarks/microcontroller_memory.py; tests marked `export` measure afresh.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_tables import load_platform, save_platform
from latency_tables.blocks.memory import peak_kb
from latency_tables.blocks.memory_rules import RULES, MemoryRule
from latency_tables.blocks.tflm_memory import FLASH_PER_NETWORK, INTERPRETERS, arena_kb, tflite_graph
from ofa.errors import UserError
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.shapes import BlockShape, walk_blocks

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "tflm_memory.json").read_text())
MICRO = "silabs-xg24"


def space_of(name: str) -> SearchSpace:
    path = ROOT / "benchmarks" / "spaces" / f"{name}.yaml"
    return load_space(path if path.exists() else name)


def blocks_of(net: dict[str, Any]) -> list[BlockShape]:
    space = space_of(net["space"])
    subnet = replace(space.decode(np.array([net["genes"]], np.int8))[0], resolution=net["resolution"])
    return list(walk_blocks(space, subnet))


def test_the_figures_are_of_enough_subnets_and_spaces() -> None:
    assert len(GOLDEN["nets"]) >= 40
    assert len({net["space"] for net in GOLDEN["nets"]}) >= 3
    assert all("arena32" in net for net in GOLDEN["nets"])
    assert sum(net["arena32"] - net["head"] - net["tail32"] > 100 for net in GOLDEN["nets"]) >= 3  # planning needs more


@pytest.mark.parametrize("pointer_bytes", [4, 8])
def test_the_arena_is_that_of_the_interpreter(pointer_bytes: int) -> None:
    real = np.array([net[f"arena{8 * pointer_bytes}"] / 1024 for net in GOLDEN["nets"]])
    model = np.array([arena_kb(blocks_of(net), INTERPRETERS[pointer_bytes]) for net in GOLDEN["nets"]])
    assert (model / real).max() < 1.03
    assert (model / real).min() > 0.99


def test_feature_maps_and_scratch_memory_are_exact() -> None:
    for net in GOLDEN["nets"]:
        assert max(tflite_graph(block).peak_bytes for block in blocks_of(net)) == net["head"]


def test_the_file_is_within_a_percent() -> None:
    for net in GOLDEN["nets"]:
        flash = sum(tflite_graph(block).flash_bytes for block in blocks_of(net)) + FLASH_PER_NETWORK
        assert flash == pytest.approx(net["bytes"], rel=0.01)


@pytest.mark.parametrize("name", ["fmnist", "resnet50", "bignas", "deep-64"])
def test_a_platform_has_the_arena_as_memory_and_the_file_as_weights(name: str) -> None:
    space = space_of(name)
    micro, other = load_platform(MICRO).costs(space), load_platform("edge-int8").costs(space)
    genes = space.sample(20, np.random.default_rng(0))
    blocks = [list(walk_blocks(space, subnet)) for subnet in space.decode(genes)]
    assert micro.memory_kb(genes) == pytest.approx([arena_kb(found, INTERPRETERS[4]) for found in blocks])
    assert (micro.activations_kb(genes) < micro.memory_kb(genes)).all()
    assert np.array_equal(micro.activations_kb(genes), other.activations_kb(genes))
    assert np.array_equal(other.activations_kb(genes), other.memory_kb(genes))
    assert other.memory_kb(genes) == pytest.approx([max(peak_kb(block, "int8") for block in found) for found in blocks])
    assert (micro.weights_kb(genes) > other.weights_kb(genes)).all()
    assert "TensorFlow Lite Micro" in micro.source("memory_kb")
    assert micro.exactness("memory_kb") == RULES["tflm"].exactness
    assert other.exactness("memory_kb") == RULES["lifetimes"].exactness


def test_a_platform_says_which_rule_is_its_runtimes(tmp_path: Path) -> None:
    platform = load_platform("edge-int8")
    assert (platform.memory, platform.memory_rule) == (None, "lifetimes")  # as files written before have it
    micro = replace(platform, memory=MemoryRule(rule="tflm", source="a test"))
    save_platform(micro, tmp_path / "micro.yaml")
    assert load_platform(tmp_path / "micro.yaml") == micro
    wrong = (tmp_path / "micro.yaml").read_text().partition("# digest")[0].replace("rule: tflm", "rule: tf-micro")
    (tmp_path / "wrong.yaml").write_text("\n".join(line for line in wrong.splitlines() if not line.startswith("#")))
    with pytest.raises(UserError, match="memory: rule is 'tf-micro'; allowed are lifetimes, tflm"):
        load_platform(tmp_path / "wrong.yaml")
    with pytest.raises(ValueError, match=r"memory\.rule is tflm and precision fp32; that rule is for int8"):
        replace(micro, precision="fp32", numerics=None)
