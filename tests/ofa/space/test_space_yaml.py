"""A space's YAML: what is read, and one clear line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from ofa.errors import UserError
from ofa.files import schema, shipped
from ofa.space.search_space import SearchSpace, load_space
from tests.space_toys import SHIPPED

GOOD = """\
name: mine
block: mbconv
in_channels: 1
classes: 4
resolutions: [16, 24]
stem: {widths: [8], stride: 1}
stages:
  - {widths: [16], depths: [1, 2], kernels: [3, 5], expands: [2, 3.5], stride: 2, se: true}
  - widths: [24]
    depths: [1, 2]
    kernels: [3]
    expands: [4]
    stride: 2
head: {width: 64, dropout: 1e-1}
"""


def write(path: Path, text: str) -> Path:
    file = path / "mine.yaml"
    file.write_text(text)
    return file


def test_a_good_file(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, GOOD))
    assert (space.name, space.in_channels, space.classes, space.total_stride) == ("mine", 1, 4, 4)
    assert space.stages[0].expands == (2.0, 3.5)
    assert (space.stages[0].se, space.stages[1].se) == (True, False)
    assert space.head.dropout == pytest.approx(0.1)
    assert space.kernel_transforms
    assert load_space(str(write(tmp_path, GOOD))) == space


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "    stride: 2\nhead",
            "    steps: 2\nhead",
            r"mine\.yaml:13: stages\[1\]: unknown key 'steps'; known keys are",
        ),
        ("classes: 4", "clases: 4", r"mine\.yaml:4: unknown key 'clases'; known keys are block, classes, compound"),
        ("width: 64", "wide: 64", r"mine\.yaml:14: head: unknown key 'wide'; known keys are activation, dropout"),
        ("name: mine\n", "", r"mine\.yaml:1: key 'name' is missing"),
        ("    depths: [1, 2]\n", "", r"mine\.yaml:9: stages\[1\]: key 'depths' is missing"),
        ("kernels: [3, 5]", "kernels: [3, 4]", r"mine\.yaml:8: stages\[0\]: kernel 4 is even; kernels must be odd"),
        ("kernels: [3, 5]", "kernels: [-3, 5]", r"mine\.yaml:8: stages\[0\]: kernels has -3; choices must be positive"),
        ("kernels: [3, 5]", "kernels: []", r"mine\.yaml:8: stages\[0\]: kernels is empty; at least one choice"),
        ("depths: [1, 2], k", "depths: [2, 1], k", r"stages\[0\]: depths are \[2, 1\]; choices must be ascending and dist"),
        ("depths: [1, 2], k", "depths: [2, 2], k", r"stages\[0\]: depths are \[2, 2\]; choices must be ascending and dist"),
        ("depths: [1, 2], k", "depths: [0, 2], k", r"stages\[0\]: depths has 0; choices must be positive and finite"),
        ("[2, 3.5]", "[2, .inf]", r"mine\.yaml:8: stages\[0\]: expands has inf; choices must be positive and finite"),
        ("[2, 3.5]", "[.nan]", r"mine\.yaml:8: stages\[0\]: expands has nan; choices must be positive and finite"),
        ("[2, 3.5]", "[2, wide]", r"mine\.yaml:8: stages\[0\]: expands\[1\]: expected a number, got 'wide'"),
        ("[2, 3.5]", "2", r"mine\.yaml:8: stages\[0\]: expands: expected a list, got 2"),
        ("widths: [16]", "widths: [16.5]", r"mine\.yaml:8: stages\[0\]: widths\[0\]: expected a whole number, got 16\.5"),
        ("se: true", "se: 1", r"mine\.yaml:8: stages\[0\]: se: expected true or false, got 1"),
        ("stride: 2, se", "stride: 3, se", r"mine\.yaml:8: stages\[0\]: stride is 3; allowed are 1, 2"),
        ("stride: 2, se", "activation: gelu, se", r"stages\[0\]: activation is 'gelu'; allowed are none, relu, relu6, h_sw"),
        ("stride: 1}", "stride: 4}", r"mine\.yaml:6: stem: stride is 4; allowed are 1, 2"),
        ("stride: 1}", "kernel: 2}", r"mine\.yaml:6: stem: kernel 2 is even; kernels must be odd"),
        ("stride: 1}", "kernel: -1}", r"mine\.yaml:6: stem: kernel -1 is negative; kernels must be at least 1"),
        ("stride: 1}", "depths: [1, 2]}", r"stem: depths are \[1, 2\]; allowed are \[1\], or values out of 2 and 3"),
        ("stride: 1}", "depths: [2]}", r"mine\.yaml:6: stem: hidden_widths is empty; at least one choice is needed"),
        ("stride: 1}", "hidden_widths: [8]}", r"mine\.yaml:6: stem: hidden_widths are given but the stem has one conv"),
        ("stem: {widths: [8], stride: 1}", "stem: 8", r"mine\.yaml:6: stem: expected a mapping of keys, got 8"),
        ("dropout: 1e-1", "dropout: 1", r"mine\.yaml:14: head: dropout is 1\.0; must be at least 0 and below 1"),
        ("width: 64", "width: 0", r"mine\.yaml:14: head: width is 0; must be at least 1"),
        ("block: mbconv", "block: dense", r"mine\.yaml:2: block is 'dense'; allowed are mbconv, bottleneck"),
        ("block: mbconv", "block: bottleneck", r"mine\.yaml:1: stages\[0\]: se is for mbconv blocks, but this space has bo"),
        ("classes: 4", "classes: 0", r"mine\.yaml:4: classes is 0; must be at least 1"),
        ("classes: 4", "classes: true", r"mine\.yaml:4: classes: expected a whole number, got True"),
        ("classes: 4", "classes:", r"mine\.yaml:4: classes: expected a whole number, got None"),
        ("classes: 4", "norm_eps: 0", r"mine\.yaml:4: norm_eps is 0\.0; must be above 0 and finite"),
        ("classes: 4", "norm_eps: .nan", r"mine\.yaml:4: norm_eps is nan; must be above 0 and finite"),
        (
            "[16, 24]",
            "[3, 24]",
            r"mine\.yaml:1: resolution 3 is too small for a total stride of 4; resolutions must",
        ),
        ("[16, 24]", f"{list(range(16, 144))}", r"mine\.yaml:5: resolutions has 128 choices; at most 127 are allowed"),
        ("depths: [1, 2], k", "depths: [685230], k", r"mine\.yaml:8: stages\[0\]: depths has 685230; at most 256 is all"),
        ("depths: [1, 2], k", "depths: [1.0e+18], k", r"stages\[0\]: depths has 1000000000000000000; at most 256 is al"),
        ("depths: [1, 2], k", f"depths: [1{400 * '0'}], k", r"stages\[0\]: depths\[0\]: expected a whole number of at mo"),
        ("kernels: [3, 5]", "kernels: [100001]", r"mine\.yaml:8: stages\[0\]: kernels has 100001; at most 255 is allowed"),
        ("widths: [16]", "widths: [2000000000]", r"stages\[0\]: widths has 2000000000; at most 65,536 is allowed"),
        ("[2, 3.5]", "[1e12]", r"stages\[0\]: expands has 1000000000000\.0; at most 256 is al"),
        ("widths: [8]", "widths: [1000000]", r"mine\.yaml:6: stem: widths has 1000000; at most 65,536 is allowed"),
        ("[16, 24]", "[16, 1000000]", r"mine\.yaml:5: resolutions has 1000000; at most 16,384 is allowed"),
        ("width: 64", "width: 10000000000", r"mine\.yaml:14: head: width is 10000000000; must be at least 1 and at most"),
        ("width: 64", "features: 10000000000", r"head: features is 10000000000; must be at least 1 and at most"),
        ("classes: 4", "classes: 10000000000", r"mine\.yaml:4: classes is 10000000000; must be at least 1 and at most 1e"),
        ("in_channels: 1", "in_channels: 10000000", r"mine\.yaml:3: in_channels is 10000000; must be at least 1 and at"),
        (
            "widths: [16], depths: [1, 2], kernels: [3, 5], expands: [2, 3.5]",
            "widths: [16], depths: [256], kernels: [255], expands: [200]",
            r"mine\.yaml:1: its largest subnet has about \d\.\de\+10 parameters; at most 2e\+10 are allowed",
        ),
        (
            "widths: [16], depths: [1, 2], kernels: [3, 5], expands: [2, 3.5]",
            f"widths: {list(range(1, 101))}, depths: [1], kernels: {list(range(3, 203, 2))}, expands: {list(range(1, 101))}",
            r"mine\.yaml:1: stages\[0\]: resolutions, widths and choices of a block combine to 2,000,000 shapes; at most 1",
        ),
        ("classes: 4", "name: again", r"mine\.yaml:4: not valid YAML: key 'name' is given twice"),
        ("se: true}", "se: true, stride: 1}", r"mine\.yaml:8: not valid YAML: key 'stride' is given twice"),
        ("classes: 4", "classes: [4", r"mine\.yaml:5: not valid YAML: .*expected ',' or '\]'"),
        ("classes: 4", "classes: !!python/object:os.system 4", r"mine\.yaml:4: not valid YAML: could not determine a const"),
        ("classes: 4", "? [1, 2]\n: 4", r"mine\.yaml:4: not valid YAML: a list or mapping is no key"),
        ("classes: 4", "4: classes", r"mine\.yaml:4: unknown key 4; known keys are block"),
        ("name: mine", "name: \x07", r"mine\.yaml: not valid YAML: unacceptable character #x0007"),
        ("stages:\n", "stages: []\nx:\n", r"mine\.yaml:8: unknown key 'x'"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1
    file = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UserError, match=message) as caught:
        load_space(file)
    assert str(caught.value).startswith(f"{file}:")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"mine\.yaml: expected a mapping of keys, got nothing"),
        ("- 1\n- 2\n", r"mine\.yaml: expected a mapping of keys, got \[1, 2\]"),
        ("words", r"mine\.yaml: expected a mapping of keys, got 'words'"),
        ("a: 1\n---\nb: 2\n", r"mine\.yaml:2: not valid YAML: but found another document"),
        ("a: &x [*x]\n", r"mine\.yaml:1: unknown key 'a'|not valid YAML: found unconstructable recursive node"),
    ],
)
def test_files_that_hold_no_mapping(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_space(write(tmp_path, text))


def test_more_stages_than_any_network_has(tmp_path: Path) -> None:
    stage = "  - {widths: [8], depths: [1], kernels: [3], expands: [1]}\n"
    text = GOOD[: GOOD.index("stages:")] + "stages:\n" + 65 * stage + "head: {}\n"
    with pytest.raises(UserError, match=r"mine\.yaml:1: stages are 65; at most 64 are allowed"):
        load_space(write(tmp_path, text))


def test_a_long_list_is_cut_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choices must be ascending") as caught:
        load_space(write(tmp_path, GOOD.replace("[16, 24]", str([24, 16] * 10_000))))
    assert len(str(caught.value)) < 300


def test_no_stages(tmp_path: Path) -> None:
    text = GOOD[: GOOD.index("stages:")] + "stages: []\nhead: {}\n"
    with pytest.raises(UserError, match=r"mine\.yaml:7: stages is empty; a space needs at least one stage"):
        load_space(write(tmp_path, text))


def test_unknown_names_list_what_is_known(tmp_path: Path) -> None:
    known = ", ".join(SHIPPED)
    with pytest.raises(UserError, match=f"unknown space 'mbv4'; known are {known}, or give a YAML file"):
        load_space("mbv4")
    with pytest.raises(UserError, match=r"other\.yaml: no such file"):
        load_space(tmp_path / "other.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(UserError, match=r"binary\.yaml: cannot be read: .*invalid start byte"):
        load_space(binary)


@pytest.mark.parametrize("name", SHIPPED)
def test_spaces_that_ship_are_named_after_their_file_and_read_alike_from_json(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert space.description
    assert schema.build(SearchSpace, schema.to_plain(space), "again") == space
    assert load_space(shipped.config_root() / "spaces" / f"{name}.yaml") == space


def test_example_of_the_guide_is_a_space(tmp_path: Path) -> None:
    """`docs/spaces.md` promises a complete file for a user's own images."""
    guide = (Path(__file__).resolve().parents[3] / "docs" / "spaces.md").read_text()
    blocks = [part.split("```")[0] for part in guide.split("```yaml\n")[1:]]
    whole = [block for block in blocks if block.startswith("#") or "resolutions:" in block]
    assert whole
    for text in whole:
        space = load_space(write(tmp_path, text))
        assert f"{space.count():,}" in guide, "the guide states how many subnets its example has"
