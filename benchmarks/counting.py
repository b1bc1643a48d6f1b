"""What a training step asks of its device, counted on any machine: operators, copies, waits, passes.

A GPU's time goes into kernels, copies and waiting for the host. The counts of the first three can be taken on a CPU:
the operators that PyTorch dispatches are the same, forward and backward.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

COPIES = frozenset({"_to_copy", "copy_", "clone", "contiguous"})
"""Operators that write the same values again: casts, changes of memory order, clones."""
VIEWS = frozenset(
    {"alias", "as_strided", "detach", "expand", "permute", "select", "slice", "split", "split_with_sizes", "squeeze"}
    | {"t", "transpose", "unbind", "unsqueeze", "view", "_unsafe_view", "_reshape_alias", "unfold", "lift_fresh"}
)
"""Operators that launch nothing."""
WAITS = frozenset(
    {"item", "tolist", "cpu", "numpy", "nonzero", "is_nonzero", "masked_select", "unique", "__bool__", "__float__"}
    | {"__int__", "__index__", "equal", "allclose"}
)
"""Functions whose result the host needs before it can go on."""
FROM_HOST = frozenset({"tensor", "new_tensor", "as_tensor", "where"})
"""Functions that bring numbers of the host to the device, as an index by a list does too. That waits for the device and
cannot be recorded as a CUDA graph. `where` makes a tensor on the host of each number that it is given."""


@dataclass
class Counts:
    """What was counted while a piece of work ran."""

    operators: Counter[str] = field(default_factory=Counter)
    """Operators that launch work, by name."""
    waits: Counter[str] = field(default_factory=Counter)
    """Calls for which the host waits for the device."""
    passes: Counter[str] = field(default_factory=Counter)
    """Forward passes through each network."""
    pictures: Counter[str] = field(default_factory=Counter)
    """Pictures in them."""

    @property
    def copies(self) -> int:
        return sum(count for name, count in self.operators.items() if name in COPIES)

    def row(self) -> dict[str, int]:
        """The numbers of a table."""
        return {
            "operators": self.operators.total(),
            "copies": self.copies,
            "waits": self.waits.total(),
            **{f"passes of {name}": count for name, count in sorted(self.passes.items())},
            **{f"pictures through {name}": count for name, count in sorted(self.pictures.items())},
        }


class _Operators(TorchDispatchMode):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in VIEWS:
            self.counts.operators[name] += 1
        return func(*args, **(kwargs or {}))


class _Waits(TorchFunctionMode):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in WAITS and args and isinstance(args[0], torch.Tensor) and not getattr(args[0], "on_host", False):
            self.counts.waits[name] += 1
        if _brings_numbers(name, args, kwargs or {}):
            self.counts.waits[name] += 1
        return func(*args, **(kwargs or {}))


def _brings_numbers(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if kwargs.get("device") == "cpu":  # an optimiser that counts its steps there
        return False
    if name == "__getitem__":
        places = args[1] if isinstance(args[1], tuple) else (args[1],)
        return any(isinstance(place, (list, np.ndarray)) for place in places)
    return name in FROM_HOST and any(isinstance(value, (int, float, list, np.ndarray)) for value in args)


def count(work: Callable[[], object], networks: Mapping[str, nn.Module]) -> Counts:
    """Run `work` once and count; `networks` are those whose passes are counted, under their names.

    A tensor whose attribute `on_host` is true has come to the host already: reading it is no wait.
    """
    counts = Counts()

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            counts.passes[name] += 1
            counts.pictures[name] += len(inputs[0])

        return hook

    hooks = [network.register_forward_pre_hook(note(name)) for name, network in networks.items()]
    try:
        with ExitStack() as stack:
            stack.enter_context(_Operators(counts))
            stack.enter_context(_Waits(counts))
            work()
    finally:
        for hook in hooks:
            hook.remove()
    return counts
