"""A training step as a CUDA graph: recorded once, then started as a whole.

A step launches some thousand small kernels, forward, backward and update. The host cannot launch them as fast as a GPU
runs them. A graph holds them all, with the memory that they use, and one call starts it.

What changes from step to step lies where the graph reads it: the batch, the noise, the ramp of the pseudo target, and
the optimisers' rates. Random numbers go on: PyTorch hands the seed and the offset of its generator to each replay.
Steps that differ in what they run (R1 every so many steps, no pseudo target at first) have a graph each.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from icface.training.batch import Batch
from icface.training.config import TrainConfig
from icface.training.distributed import world
from icface.training.finite import DeferredCheck, Seen

WARM_UP = 3
"""Steps of a kind before it is recorded: kernels are compiled and chosen in them, and the optimisers' state is made."""

Outcomes = list[tuple[tuple[str, ...], Tensor]]
"""Of each phase: its terms' names, and (terms,) their values on the device."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Given:
    """What one step is given."""

    batch: Batch
    """Pictures as uint8, on any device."""
    noise: Tensor | float
    """(B, 3, S, S) on the training's device, or 0."""
    ramp: Tensor | float | None
    """See `icface.training.phases.Step`."""

    def copy_to(self, device: torch.device) -> "Given":
        """The same in memory of its own on the device, for `take` to write to."""
        batch = Batch(**{item.name: getattr(self.batch, item.name).to(device, copy=True) for item in fields(Batch)})
        noise = self.noise.clone() if isinstance(self.noise, Tensor) else self.noise
        ramp = None if self.ramp is None else torch.tensor(float(self.ramp), device=device)
        return Given(batch, noise, ramp)

    def take(self, other: "Given") -> None:
        """Write what another step is given over this one's."""
        for item in fields(Batch):
            getattr(self.batch, item.name).copy_(getattr(other.batch, item.name), non_blocking=True)
        if isinstance(self.noise, Tensor):
            self.noise.copy_(other.noise)  # type: ignore[arg-type]
        if isinstance(self.ramp, Tensor):
            self.ramp.fill_(other.ramp)  # type: ignore[arg-type]


class Recorder(Protocol):
    """Runs work so that it can be recorded, and records it."""

    def warm(self, work: Callable[[], Outcomes]) -> Outcomes:
        """Run `work` once, as it will be recorded."""
        ...

    def record(self, work: Callable[[], Outcomes]) -> tuple[Callable[[], object], Outcomes]:
        """Record `work` without running it: what runs it, and the tensors that its results come to."""
        ...


class CudaRecorder:
    """Records CUDA graphs that share their memory, since one runs after the other."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool: Any = None

    def warm(self, work: Callable[[], Outcomes]) -> Outcomes:
        """Run `work` in the stream that records, whose memory and handles the graphs use."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            outcomes = work()
        current.wait_stream(self._stream)
        return outcomes

    def record(self, work: Callable[[], Outcomes]) -> tuple[Callable[[], object], Outcomes]:
        """As `Recorder.record` says. Raises RuntimeError where `work` waits for the device."""
        graph = torch.cuda.CUDAGraph()
        # Other threads pin memory and copy checkpoints meanwhile.
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
            outcomes = work()
        self._pool = self._pool or graph.pool()
        return graph.replay, outcomes


@dataclass(frozen=True)
class _Recorded:
    given: Given
    replay: Callable[[], object]
    outcomes: Outcomes
    seen: list[Seen]


class StepGraphs:
    """The recorded steps of a training."""

    def __init__(
        self,
        optimisers: Mapping[str, torch.optim.Optimizer],
        check: DeferredCheck,
        device: torch.device,
        recorder: Recorder | None = None,
    ) -> None:
        self._optimisers, self._check, self._device = optimisers, check, device
        self._recorder = recorder or CudaRecorder(device)
        self._times: Counter[tuple[object, ...]] = Counter()
        self._recorded: dict[tuple[object, ...], _Recorded] = {}
        self._works = True

    def run(self, phases: tuple[str, ...], given: Given, work: Callable[[Given], Outcomes]) -> Outcomes:
        """Do `work` on what is given: what the `phases` make of one step.

        The first steps of a kind run as they are, then one is recorded. Where that fails, all go on running as they
        are, and a warning says why.
        """
        kind = (phases, given.ramp is None, tuple(given.batch.source.shape))
        self._times[kind] += 1
        if kind not in self._recorded:
            self._put_rates_on_device()
            if not self._works or self._times[kind] <= WARM_UP:
                return self._recorder.warm(lambda: work(given)) if self._works else work(given)
            try:
                self._recorded[kind] = self._record(given, work)
            except RuntimeError as error:
                self._works = False
                reason = str(error).strip().splitlines()[0]
                _log.warning("training steps are not recorded as CUDA graphs and run slower: %s", reason)
                return work(given)
        recorded = self._recorded[kind]
        recorded.given.take(given)
        recorded.replay()
        self._check.seen = list(recorded.seen)
        return recorded.outcomes

    def _put_rates_on_device(self) -> None:
        """Of steps that are not recorded too: there rates are float32, and a resumed training shall round alike."""
        for optimiser in self._optimisers.values():
            for group in optimiser.param_groups:
                group["capturable"] = True
                if not (isinstance(group["lr"], Tensor) and group["lr"].device == self._device):
                    group["lr"] = torch.tensor(float(group["lr"]), device=self._device)

    def _record(self, given: Given, work: Callable[[Given], Outcomes]) -> _Recorded:
        own = given.copy_to(self._device)
        try:
            replay, outcomes = self._recorder.record(lambda: work(own))
            return _Recorded(own, replay, outcomes, list(self._check.seen))
        finally:
            self._check.seen = []


def can_record(config: TrainConfig) -> bool:
    """Whether a training's steps can be recorded: recipe `icface` in one process; RMSprop cannot be."""
    return (
        config.graphs == "auto"
        and config.loss.recipe == "icface"
        and config.optimiser.name == "adam"
        and world()[1] == 1
    )
