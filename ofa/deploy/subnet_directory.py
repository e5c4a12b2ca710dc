"""The subnet directory that `ofa query` writes: architecture, weights, costs and an example of use.

It holds `subnet.json` (choices, genes, the space's fingerprint, the weights' digest), `space.yaml`, `weights.safetensors`,
`card.json` and `card.md` (every figure with its source), `label.svg` (the energy label, where the energy is known; of
several platforms, `label-PLATFORM.svg` each), `load.py` (a runnable example). The folder is written as a whole or not at
all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ofa.errors import UserError
from ofa.files import schema
from ofa.files.atomic import atomic_write, sha256
from ofa.files.vouched import read_vouched_json, write_vouched_json
from ofa.files.whole_folder import restore, whole_folder
from ofa.footprint.label_entry import sentence
from ofa.footprint.label_svg import label_svg
from ofa.space.search_space import SearchSpace, load_space
from ofa.space.subnet import Subnet

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import nn

FORMAT = 1
ADVICE = "query the subnet again"
LABELS = "label*.svg"
FILES = ("space.yaml", "weights.safetensors", "card.json", "card.md", "load.py", "subnet.json")

EXAMPLE = '''"""Load this subnet and classify images: python load.py photo.jpg ... (noise without; photos need Pillow)."""

import sys
from pathlib import Path

import numpy as np
import torch

from ofa import load_subnet


def read_photo(path):
    """The central square of an image file, {channels} x {resolution} x {resolution}, values in [0, 1]."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(Image.open(path)).convert("L" if {channels} == 1 else "RGB")
    pixels = np.asarray(ImageOps.fit(image, ({resolution}, {resolution})), dtype=np.float32) / 255
    return torch.from_numpy(pixels.reshape({resolution}, {resolution}, {channels}).transpose(2, 0, 1).copy())


module = load_subnet(Path(__file__).resolve().parent)  # a plain torch.nn.Module in eval mode

photos = [read_photo(path) for path in sys.argv[1:]]
images = torch.stack(photos) if photos else torch.rand(1, {channels}, {resolution}, {resolution})
mean = torch.tensor({mean}).view(1, -1, 1, 1)
std = torch.tensor({std}).view(1, -1, 1, 1)
classes = {classes}

with torch.inference_mode():
    probabilities = module((images - mean) / std).softmax(dim=1)
for row in probabilities:
    best = int(row.argmax())
    print(f"{{classes[best]}}: {{row[best]:.3f}}")
'''


def save_subnet(
    directory: str | Path,
    space: SearchSpace,
    subnet: Subnet,
    weights: Mapping[str, npt.NDArray[Any]] | None,
    card: Mapping[str, Any],
) -> Path:
    """Write a subnet directory; an existing one is replaced.

    Args:
        directory: created if it does not exist.
        space: the space of the subnet.
        subnet: the architecture that the weights are of.
        weights: the state of the plain network, recalibrated; None: the architecture and the card alone.
        card: facts that JSON can hold: `title`, `figures` (a list of `name`, `value`, `unit`, `source`, `uncertainty`),
            `input` (`channels`, `resolution`, `mean`, `std`, `classes`), perhaps `labels` (`ofa.footprint.label_entry`), and
            others.

    Returns:
        The directory.
    """
    import numpy as np
    from safetensors.numpy import save

    with whole_folder(directory) as folder:
        if weights is not None:
            tensors = {key: np.ascontiguousarray(value).reshape(value.shape) for key, value in weights.items()}
            atomic_write(folder / "weights.safetensors", save(tensors))
            atomic_write(folder / "load.py", EXAMPLE.format(**card["input"]))
        atomic_write(folder / "space.yaml", yaml.safe_dump(schema.to_plain(space), sort_keys=False))
        write_vouched_json(folder / "card.json", card)
        atomic_write(folder / "card.md", card_text(card))
        labels = _label_files(card)
        for name, drawing in labels.items():
            atomic_write(folder / name, drawing)
        document = {
            "format": FORMAT,
            "space": space.name,
            "fingerprint": space.fingerprint,
            "genes": space.encode(subnet)[0].tolist(),
            "subnet": subnet.to_dict(),
            "weights_sha256": None if weights is None else sha256(folder / "weights.safetensors"),
            "card_sha256": sha256(folder / "card.json"),
        }
        write_vouched_json(folder / "subnet.json", document)
    stale = ["weights.safetensors", "load.py"] if weights is None else []  # of a subnet that was here before
    stale += [path.name for path in Path(directory).glob(LABELS) if path.name not in labels]
    for name in stale:
        (Path(directory) / name).unlink(missing_ok=True)
    return Path(directory)


def _label_files(card: Mapping[str, Any]) -> dict[str, str]:
    """The drawings of a card's labels, by file name."""
    labels = card.get("labels", [])
    if len(labels) == 1:
        return {"label.svg": label_svg(labels[0])}
    return {f"label-{entry['platform']}.svg": label_svg(entry) for entry in labels}


def is_replaceable(directory: Path) -> bool:
    """True where a subnet may be written: to a new or empty folder, or over a subnet or the remains of a killed write."""
    restore(directory)
    if not directory.exists():
        return True
    if not directory.is_dir():
        return False
    names = {path.name for path in directory.iterdir() if not path.name.endswith(".tmp")}
    return "subnet.json" in names or {name for name in names if not fnmatch(name, LABELS)} <= set(FILES)


def read_card(directory: str | Path) -> dict[str, Any]:
    """The card of a subnet directory; raises `UserError` if it is missing, damaged, or of another subnet."""
    file = Path(directory) / "card.json"
    card = read_vouched_json(file, ADVICE, ("title", "figures", "input"))
    expected = read_vouched_json(Path(directory) / "subnet.json", ADVICE).get("card_sha256")  # None before version 0.2
    if expected not in (None, sha256(file)):
        raise UserError(f"{file}: the card of another subnet: its digest is not the one in subnet.json; {ADVICE}")
    return card


def read_subnet(directory: str | Path) -> tuple[SearchSpace, Subnet]:
    """The space and the subnet of a directory, without its weights.

    Raises:
        UserError: the folder is no subnet directory, or its files contradict each other.
    """
    directory = Path(directory)
    restore(directory)
    file = directory / "subnet.json"
    document = read_vouched_json(file, ADVICE)
    if document.get("format") != FORMAT:
        raise UserError(f"{file}: not a subnet of format {FORMAT}")
    for key in ("fingerprint", "genes", "subnet", "weights_sha256"):
        if key not in document:
            raise UserError(f"{file}: key {key!r} is missing")
    space = load_space(directory / "space.yaml")
    if space.fingerprint != document["fingerprint"]:
        raise UserError(
            f"{file}: made for a space with fingerprint {document['fingerprint']}; "
            f"{directory / 'space.yaml'} has {space.fingerprint}"
        )
    subnet = Subnet.from_dict(document["subnet"], f"{file}: subnet")
    if space.encode(subnet)[0].tolist() != document["genes"]:
        raise UserError(f"{file}: genes and subnet are not the same network")
    return space, subnet


def load_subnet(directory: str | Path) -> nn.Module:
    """The network of a subnet directory: a plain module in eval mode, from float32[batch, channels, side, side] to logits.

    Raises:
        UserError: the folder is no subnet directory, is damaged, or has weights of another network (the message names
            missing and unexpected keys).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from ofa.nets.plain import empty_net

    directory = Path(directory)
    space, subnet = read_subnet(directory)
    file = directory / "weights.safetensors"
    expected = read_vouched_json(directory / "subnet.json", ADVICE)["weights_sha256"]
    if expected is None:
        raise UserError(f"{directory / 'subnet.json'}: was written without weights (card.md says why); {ADVICE}")
    if sha256(file) != expected:
        raise UserError(f"{file}: its digest is not the one in subnet.json; query the subnet again")
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise UserError(f"{file}: not a safetensors file: {error}") from None
    module = empty_net(space, subnet)
    wanted = module.state_dict()
    _check_keys(file, "missing", sorted(wanted.keys() - tensors.keys()))
    _check_keys(file, "unexpected", sorted(tensors.keys() - wanted.keys()))
    for key, tensor in tensors.items():
        if tensor.shape != wanted[key].shape:
            raise UserError(f"{file}: {key} has shape {list(tensor.shape)}; the subnet needs {list(wanted[key].shape)}")
    module.load_state_dict(tensors)
    return module.eval()


def card_text(card: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    lines = [f"# {card['title']}", "", "| | value | source | uncertainty |", "|---|---|---|---|"]
    for figure in card["figures"]:
        value = "unknown" if figure["value"] is None else f"{figure['value']:.4g} {figure['unit']}".strip()
        lines.append(f"| {figure['name']} | {value} | {figure['source']} | {figure['uncertainty'] or 'not stated'} |")
    facts = {key: value for key, value in card.items() if key not in ("title", "figures", "input", "labels")}
    facts |= {"energy label": "; ".join(map(sentence, card["labels"]))} if card.get("labels") else {}
    lines += ["", *(f"- **{key.replace('_', ' ')}**: {_plain_words(value)}" for key, value in facts.items())]
    given = card["input"]
    lines += [
        f"- **input**: {given['channels']} x {given['resolution']} x {given['resolution']}, values in [0, 1], "
        f"minus {given['mean']}, divided by {given['std']} (per channel)",
        f"- **output**: logits of {len(given['classes'])} classes",
        "",
        "`python load.py` loads the network and classifies a batch.",
    ]
    return "\n".join(lines) + "\n"


def _plain_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {entry}" for key, entry in value.items()) or "none"
    return "none" if value is None else str(value)


def _check_keys(file: Path, problem: str, keys: Sequence[str]) -> None:
    if keys:
        more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
        raise UserError(f"{file}: {problem} weights {', '.join(keys[:5])}{more}")
