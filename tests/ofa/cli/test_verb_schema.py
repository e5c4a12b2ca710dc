"""`ofa schema`: what editors are told of a YAML file is what the loader accepts, bound by bound."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from latency_tables import Platform, platform_names
from ofa.cli.main import main
from ofa.cli.verbs.schema import KINDS
from ofa.errors import UserError
from ofa.files import schema, shipped
from ofa.files.bounds import BoundError
from ofa.runs.recipe import Recipe
from ofa.space.search_space import SearchSpace
from tests.verbs import ofa

ROOT = Path(__file__).resolve().parents[3]
CLASSES: dict[str, type] = {"recipe": Recipe, "space": SearchSpace, "platform": Platform}
FILES = {
    "recipe": [shipped.config_root() / f"{name}.yaml" for name in shipped.names("")],
    "space": [shipped.config_root() / "spaces" / f"{name}.yaml" for name in shipped.names("spaces")],
    "platform": [ROOT / "latency_tables" / "platforms" / f"{name}.yaml" for name in platform_names()],
}
VALUES = (-1, 0, 1, 1.5, 3, 300, -0.5, inf, "nonsense", True, None)
LISTS = ([], [0], [0, 1], [3, 3], [0.5, 2.5], ["odd"], {}, {"a": 1})
ORDERS = ("ascending", "low <= high")
"""In messages about the order of a list, which JSON schema cannot say."""
WHOLE = {
    "recipe": """
space: fmnist
classes: 10
resolutions: [24, 28]
init: runs/demo
data:
  source: photos
  validation: 0.1
  split_seed: 0
  split_by: name
  augment:
    horizontal_flip: true
    random_resized_crop: [0.08, 1]
    brightness: 0.1
    contrast: 0.1
    saturation: 0.1
    erase_probability: 0.1
    erase_area: [0.02, 0.3]
    rand_augment: {operations: 2, magnitude: 9}
  normalise: {mean: [0.5], std: [0.2]}
  evaluation_crop: 0.875
  workers: 2
  memory_limit_mb: 100
  background: 255
phases:
  - name: one
    epochs: 3
    peak_lr: 0.1
    opens: {kernels: [3, 5], depths: [1], expands: [2], widths: 1}
    warmup_epochs: 1
    warmup_lr: 0
    subnets_per_step: 3
    include: [largest, smallest]
    teacher: largest
    distill: 1
    label_weight: 1
    divergence: cross_entropy
batch_size: 64
lr_images: 64
label_smoothing: 0.1
mix: {mixup: 0.2, cutmix: 1}
average_decay: 0.99
drop_connect: 0.1
optimiser: {momentum: 0.9, weight_decay: 3e-5, clip_norm: 1, subnet_gradients: mean}
evaluation: {every_epochs: 1, images: 100, recalibration_images: 100, final_subnets: 2, batch_size: 50}
precision: bf16
checkpoint_seconds: 60
tensorboard: false
seed: 0
""",
    "space": """
name: mine
block: mbconv
in_channels: 1
classes: 10
resolutions: [24, 28]
kernel_transforms: true
norm_eps: 1e-5
compound: false
stem: {widths: [8, 16], hidden_widths: [8], depths: [2, 3], kernel: 3, stride: 1, activation: relu, pool: false}
stages:
  - {widths: [16], depths: [1, 2], kernels: [3, 5], expands: [1.5, 2], stride: 2, activation: h_swish, se: true}
head: {width: 64, features: 32, activation: relu, dropout: 0.1}
""",
    "platform": (ROOT / "latency_tables" / "platforms" / "analog-imc.yaml").read_text(),
}
TABLE = """
name: mine
device: a board
runtime: a runtime
precision: fp32
batch: 2
threads: 4
kind: measured
description: made up
source: nobody
licence: MIT
details: {processor: some}
error:
  note: made up
  networks: 12
  mape: 0.05
  worst: 0.1
  spearman: 0.9
  within_5: 0.5
  within_10: 1
  quantiles: {0.5: 1.0, 0.9: 1.1}
table:
  space: fmnist
  fingerprint: '0123456789abcdef'
  intercept_ms: -0.1
  factor: 1.05
  blocks:
    - kind: stem
      main: [[conv, 1, 16, 28, 28, 3, 1, 1, true, false, h_swish]]
      shortcut: []
      residual: false
      median_ms: 0.11
      p10_ms: 0.1
      p90_ms: 0.13
      count: 50
      rejected: 1
      resolution: 28
      energy_mj: 0.2
energy: {source: a meter, network_mj: -0.1}
"""
DOCUMENTS = [*WHOLE.items(), ("platform", TABLE)]


class Yaml12(yaml.SafeLoader):
    """Reads numbers as editors do: by YAML 1.2, where 3e-5 is one."""


Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$"), list("-+.0123456789")
)


def as_editors_read(text: str) -> Any:
    return yaml.load(text, Yaml12)


@pytest.fixture(scope="module")
def validators() -> dict[str, Draft202012Validator]:
    from ofa.files.json_schema import json_schema

    return {kind: Draft202012Validator(json_schema(cls, KINDS[kind])) for kind, cls in CLASSES.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_verb_prints_a_valid_schema(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ofa(capsys, "schema", kind)
    assert given["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(given)
    assert main(["schema", kind]) == 0
    assert json.loads(capsys.readouterr().out) == given


def test_another_kind_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["schema", "predictor"])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert "recipe" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "file"), [pytest.param(kind, file, id=file.stem) for kind in KINDS for file in FILES[kind]]
)
def test_every_file_that_ships_passes(kind: str, file: Path, validators: dict[str, Draft202012Validator]) -> None:
    assert [error.message for error in validators[kind].iter_errors(as_editors_read(file.read_text()))] == []


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values stand in a document, those inside others too."""
    if path:
        yield path
    items = document if isinstance(document, dict) else dict(enumerate(document)) if isinstance(document, list) else {}
    for key, value in items.items():
        yield from places(value, (*path, key))


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(document)
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return changed


def refusal(kind: str, document: Any) -> tuple[str, bool]:
    """The loader's message ("" for none), and whether it is of one value: of its type or its bounds, but not its order."""
    try:
        schema.build(CLASSES[kind], document, "file")
    except UserError as error:
        of_value = isinstance(error.__context__, BoundError) or ": expected " in str(error)
        return str(error), of_value and not any(order in str(error) for order in ORDERS)
    return "", False


@pytest.mark.parametrize(("kind", "text"), DOCUMENTS, ids=["recipe", "space", "platform", "table"])
def test_what_the_loader_refuses_of_a_value_the_schema_refuses_and_no_more(
    kind: str, text: str, validators: dict[str, Draft202012Validator]
) -> None:
    """Every value of a file in turn replaced by others; only rules that join several are the loader's alone."""
    whole = as_editors_read(text)
    assert refusal(kind, whole) == ("", False)
    assert validators[kind].is_valid(whole)
    refused = 0
    for path in places(whole):
        for value in (*VALUES, *LISTS):
            changed = with_value(whole, path, value)
            message, of_value = refusal(kind, changed)
            accepted = validators[kind].is_valid(changed)
            assert not (of_value and accepted), f"{path} = {value!r}: the schema accepts; {message}"
            assert accepted or message, f"{path} = {value!r}: the schema alone refuses"
            refused += of_value
    assert refused > 100


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_and_missing_keys_are_refused(kind: str, validators: dict[str, Draft202012Validator]) -> None:
    whole = as_editors_read(WHOLE[kind])
    assert not validators[kind].is_valid(whole | {"extra": 1})
    assert not validators[kind].is_valid({key: value for key, value in whole.items() if key != next(iter(whole))})


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_is_described(kind: str, validators: dict[str, Draft202012Validator]) -> None:
    given = validators[kind].schema
    for name, definition in (("", given), *given["$defs"].items()):
        assert definition["description"]
        for key, described in definition["properties"].items():
            assert "description" in described or "$ref" in described, f"{name}.{key}"
