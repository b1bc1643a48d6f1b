"""How many floating-point operations a training does a second."""

import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


class OperationCounter:
    """Adds up the operations of pieces of work, each counted when it runs for the first time.

    Operations are those of convolutions and matrix products, forward and backward, a multiplication and an addition
    apart, as `torch.utils.flop_counter` has them. The count changes no number that is computed. What is compiled runs
    uncompiled while it is counted.
    """

    def __init__(self, now: float) -> None:
        """`now` in seconds of any clock."""
        self._of: dict[Hashable, int] = {}
        self._done = 0
        self._since = now

    @contextmanager
    def counting(self, kind: Hashable) -> Iterator[None]:
        """Around a piece of work; those of one `kind` have the same number of operations."""
        if kind in self._of:
            yield
        else:
            # Where PyTorch's compiler is not loaded nothing is compiled, and loading it takes seconds.
            loaded = "torch._dynamo" in sys.modules
            with torch.compiler.set_stance("force_eager") if loaded else nullcontext(), _Count() as count:
                yield
            self._of[kind] = count.total
        self._done += self._of[kind]

    def rate(self, now: float) -> float:
        """Operations a second since the last call."""
        rate = self._done / (now - self._since)
        self._done, self._since = 0, now
        return rate


class _Count(TorchDispatchMode):
    """`FlopCounterMode` without what this training cannot have.

    Its hooks on modules fail where gradients are differentiated (R1). It takes composite operators apart, which rounds
    another way, so that a training which is counted once more after a restart would end with other weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self._formulas = FlopCounterMode(display=False).flop_registry

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """PyTorch's guard against compiling what is below: it would load the compiler."""
        return False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        formula: Callable[..., int] | None = self._formulas.get(getattr(function, "overloadpacket", None))
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result
