"""A training's whole state in a folder: networks, averaged weights, optimisers, step.

No random state is stored: batches, noise and dropout are functions of (seed, step).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from icface.errors import IcfaceError
from icface.files import replacing

FILE = "training.pt"

Save = Callable[[Path], None]
"""Writes a state into the folder that it is given, whole or not at all."""


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) into `folder`, whole or not at all."""
    with replacing(folder / FILE, ".pt") as temporary:  # the name that torch writes in has to have an ending
        torch.save(state, temporary)


def load_state(folder: Path) -> dict[str, Any]:
    """The state in `folder`, on the CPU; tensors and plain values only, nothing pickled is run.

    Raises IcfaceError when there is no whole checkpoint.
    """
    try:
        return torch.load(folder / FILE, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise IcfaceError(f"{folder} holds no checkpoint ({FILE} is missing)") from None
    except Exception as error:  # torch raises whatever its zip reader and unpickler do
        raise IcfaceError(f"the checkpoint in {folder} cannot be read: {error}") from None


class HostCopy:
    """A copy of a training's state in this machine's memory, which can be written while the training goes on.

    Its memory is used again by the next copy, so it is asked for once, and on a GPU pinned once.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def take(self, state: Mapping[str, Any]) -> Save:
        """Copy `state` (tensors and plain values in nested containers); what comes back writes the copy.

        The next call overwrites the copy: it has to wait for whoever writes this one.
        """
        copy = self._copied(state, "")
        if any(tensor.is_pinned() for tensor in self._kept.values()):
            torch.cuda.synchronize()
        return lambda folder: save_state(folder, copy)

    def _copied(self, value: Any, name: str) -> Any:
        """`name`: where in the state it is."""
        if isinstance(value, Tensor):
            return self._copied_tensor(value, name)
        if isinstance(value, Mapping):
            return {key: self._copied(part, f"{name}/{key}") for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._copied(part, f"{name}/{index}") for index, part in enumerate(value))
        return value

    def _copied_tensor(self, tensor: Tensor, name: str) -> Tensor:
        kept = self._kept.get(name)
        if kept is None or (kept.shape, kept.dtype, kept.stride()) != (tensor.shape, tensor.dtype, tensor.stride()):
            # In the same order of memory: optimisers go on with it.
            kept = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
            self._kept[name] = kept
        kept.copy_(tensor.detach(), non_blocking=tensor.is_cuda)
        return kept
