"""Measuring the pairs of an evaluation on many processes, on this machine or a cluster, by Ray Data.

A task holds the pairs of whole sources, so a source is neutralised and measured once. What comes back is put in the
order of the pairs: scores do not depend on the number of processes.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

import orchestration
from icface.bundle import ICface
from icface.errors import IcfaceError
from icface.evaluation.measurements import Measurements, Moments, added
from icface.evaluation.measuring import measure
from icface.evaluation.rendering import ModelRenderer
from icface.evaluation.sweeps import asked_values, chosen_sources
from orchestration.registry.measurer import MeasurerChoice
from pipelines.loading.evaluation_pairs import EvaluationPairs

PAIRS_A_TASK = 48
"""About so many."""


class PairMeasurer:
    """A Ray Data actor: numbers of pairs in, what was measured of them out."""

    def __init__(
        self,
        model: Any,
        pairs: Any,
        measuring: MeasurerChoice,
        stepped: Collection[tuple[str, str]],
        values: Mapping[str, npt.NDArray[np.float32]],
    ) -> None:
        import ray
        import torch

        torch.set_num_threads(1)
        self.renderer = ModelRenderer(ray.get(model[0]), measuring.device)
        self.pairs: EvaluationPairs = ray.get(pairs[0])
        self._open = ExitStack()
        self.measurer = self._open.enter_context(measuring.opened())
        self.stepped, self.values = stepped, values

    def __call__(self, rows: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        found = np.empty(len(rows["first"]), object)
        for index, (first, last) in enumerate(zip(rows["first"], rows["last"], strict=True)):
            found[index] = measure(
                self.renderer,
                self.pairs.some(range(int(first), int(last))),
                self.measurer,
                stepped=self.stepped,
                values=self.values,
            )
        return {"first": rows["first"], "last": rows["last"], "measured": found}


def measure_on_ray(
    model: ICface,
    pairs: EvaluationPairs,
    measuring: MeasurerChoice,
    *,
    stepped: int = 0,
    address: str = "local",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Measurements:
    """What `icface.evaluation.measuring.measure` finds, by `workers` processes (by default one a core).

    `address`: `local`, `auto` or HOST, as `pipelines.cluster.connect`. The data set must be seen by every node.
    `progress` is told the pairs done and their number. Raises IcfaceError when no cluster answers or a task fails.
    """
    import ray

    from pipelines.cluster import connect, quiet_data

    chosen = chosen_sources(pairs.sources(), stepped) if stepped else set()
    values = asked_values(model.schema, pairs.attributes())
    parts: dict[int, Measurements] = {}
    moments: Moments = {}
    with connect(address, workers, packages=(orchestration,)) as cores:
        quiet_data()
        tasks = [{"first": task.start, "last": task.stop} for task in _tasks(pairs)]
        # In a list, because a bare reference in an actor's arguments is resolved for each of its calls.
        shared_model, shared_pairs = [ray.put(model.cpu())], [ray.put(pairs)]
        found = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map_batches(
            PairMeasurer,
            fn_constructor_args=(shared_model, shared_pairs, measuring, chosen, values),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(cores, len(tasks))),
            num_cpus=1,
            num_gpus=1 if measuring.device == "cuda" else None,
        )
        done = 0
        try:
            for first, last, measured in _rows(found):
                # Sums over pictures, as large as pictures: they are exact in any order, so none is kept.
                moments = added(moments, measured.moments)
                parts[first] = replace(measured, moments={})
                done += last - first
                if progress is not None:
                    progress(done, len(pairs))
        except ray.exceptions.RayError as error:
            raise IcfaceError(f"the evaluation stopped: {_cause(error)}") from None
    return replace(Measurements.joined([parts[first] for first in sorted(parts)]), moments=moments)


def _tasks(pairs: EvaluationPairs) -> Iterator[range]:
    """The numbers of the pairs of whole sources, about `PAIRS_A_TASK` together."""
    start = 0
    for block in pairs.by_source():
        if block.stop - start >= PAIRS_A_TASK:
            yield range(start, block.stop)
            start = block.stop
    if start < len(pairs):
        yield range(start, len(pairs))


def _rows(found: Any) -> Iterator[tuple[int, int, Measurements]]:
    for batch in found.iter_batches(batch_size=None, prefetch_batches=0):
        yield from zip(batch["first"].tolist(), batch["last"].tolist(), batch["measured"], strict=True)


def _cause(error: Exception) -> str:
    """The last line of what went wrong inside a task."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return (str(cause).strip() or type(cause).__name__).splitlines()[-1]
