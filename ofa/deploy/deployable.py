"""Read a subnet directory for conversion, and uint8 images of its input size for calibration and checks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ofa.data.batches import Data
from ofa.data.decoding import Job, decode
from ofa.data.sources.image_file import Reading, is_image
from ofa.deploy.formats.format import Deployable, Images, Logits
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.deploy.subnet_directory import load_subnet, read_card, read_subnet
from ofa.errors import UserError

BATCH = 64


@dataclass(frozen=True, eq=False)
class Photos:
    """Images for calibration or for a check."""

    pixels: Images
    labels: npt.NDArray[np.int64] | None
    source: str
    """A description of their source for messages."""

    def __len__(self) -> int:
        return len(self.pixels)


def read_deployable(directory: str | Path, as_uint8: bool = True) -> Deployable:
    """The subnet of a directory that `ofa query` wrote; raises `UserError` for any other folder, and a damaged one."""
    net: Any = load_subnet(directory)
    space, subnet = read_subnet(directory)
    card = read_card(directory)
    given = card["input"]
    image = ImageInput(subnet.resolution, tuple(given["mean"]), tuple(given["std"]), as_uint8)
    facts = {
        "title": str(card["title"]),
        "classes": json.dumps(given["classes"]),
        "input": "square images, channels last, " + ("uint8, 0 to 255" if as_uint8 else "float32, 0 to 1"),
        "space": f"{space.name} (fingerprint {space.fingerprint})",
        "card": json.dumps({figure["name"]: [figure["value"], figure["unit"]] for figure in card["figures"]}),
    }
    return Deployable(space, subnet, net, image, facts)


def photos_of_data(data: Data, split: str, side: int, count: int) -> Photos:
    """The first images of a split, cropped and resized as in evaluation, rounded to uint8; classes are mixed.

    Raises:
        UserError: the split does not exist, or an image cannot be read.
    """
    pixels, labels = zip(*uint8_batches(data, split, side, count), strict=True)
    name = f"{split} images of {data.config.source}"
    return Photos(np.concatenate(pixels), np.concatenate(labels), name)


def uint8_batches(data: Data, split: str, side: int, count: int) -> Iterator[tuple[Images, npt.NDArray[np.int64]]]:
    """Batches of the images that `photos_of_data` returns, with their labels."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    batches = data.batches(split, batch_size=BATCH, resolution=side, shuffle=False, augment=False, limit=count)
    for images, labels in batches:
        raw = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        yield raw.permute(0, 2, 3, 1).contiguous().numpy(), labels.numpy()


def photos_of_folder(folder: Path, side: int, channels: int, count: int) -> Photos:
    """Images below a folder in random order, without labels; raises `UserError` for no image, or a damaged one."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no folder of images")
    files = sorted(str(path) for path in folder.rglob("*") if path.is_file() and is_image(str(path)))
    if not files:
        raise UserError(f"{folder}: holds no images")
    chosen = [files[i] for i in np.random.default_rng(0).permutation(len(files))[:count]]
    jobs = [Job(chosen[i : i + BATCH], side) for i in range(0, len(chosen), BATCH)]
    decoded = [images.numpy() for images in decode(jobs, Reading(channels), workers=0)]
    return Photos(np.concatenate(decoded).astype(np.uint8), None, f"images of {folder}")


@torch.inference_mode()
def network_logits(source: Deployable, images: Images) -> Logits:
    """The logits that the network itself computes, in float32."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (source.image.mean, source.image.std))
    parts = []
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2).float() / 255
        parts.append(source.net((batch - mean) / std))
    logits: Logits = torch.cat(parts).numpy()
    return logits
