"""Choosing the device, and the precision that it computes with."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from ofa.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device of this name; `auto` is CUDA where it is available. Raises `UserError` for a device that does not exist.

    A GPU becomes the current device of this process, which is used where no tensor decides: events, energy, page-locked
    copies. Each process that `torchrun` starts on a machine gets a GPU of its own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name!r} is no device; give auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices")
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if device.type not in ("cpu", "cuda"):
        try:
            torch.zeros(1, device=device).item()
        except (RuntimeError, NotImplementedError) as error:
            raise UserError(f"--device {name} cannot be used here: {str(error).splitlines()[0]}") from None
    return device


def check_precision(precision: str, device: torch.device) -> None:
    """Raise `UserError` for bf16 on a GPU that can only emulate it."""
    if precision == "bf16" and device.type == "cuda" and not multiplies_bf16(device):
        raise UserError(f"precision is bf16, which {torch.cuda.get_device_name(device)} does not compute; use auto or fp32")


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions that multiply bf16; without them it would be slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # older PyTorch does not tell
        return False
    facts = torch.cpu.get_capabilities()
    return any(facts.get(instructions, False) for instructions in ("avx512_bf16", "amx_bf16"))


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass in a recipe's precision; the backward pass takes that of each operation."""
    if precision == "bf16" or (precision == "auto" and multiplies_bf16(device)):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
