"""Batches on their way to the device."""

from collections.abc import Iterable, Iterator
from dataclasses import fields

import torch

from icface.training.batch import Batch


def prefetched(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches; for a GPU they are copied there out of pinned memory, in a stream of their own.

    The host runs ahead of the device, so the copy of a batch overlaps with the steps before it.
    """
    if device.type != "cuda":
        yield from batches
        return
    stream = torch.cuda.Stream(device)
    for batch in batches:
        with torch.cuda.stream(stream):
            tensors = {item.name: getattr(batch, item.name) for item in fields(Batch)}
            pinned = {name: value if value.is_pinned() else value.pin_memory() for name, value in tensors.items()}
            moved = Batch(**{name: value.to(device, non_blocking=True) for name, value in pinned.items()})
        current = torch.cuda.current_stream(device)
        current.wait_stream(stream)
        for item in fields(Batch):
            getattr(moved, item.name).record_stream(current)
        yield moved
