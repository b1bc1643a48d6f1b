"""A training's whole state in a folder: networks, averaged weights, optimisers, step.

No random state is stored: batches, noise and dropout are functions of (seed, step).
"""

from pathlib import Path
from typing import Any

import torch

from icface.errors import IcfaceError
from icface.files import replacing

FILE = "training.pt"


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
