"""Small jobs over a finished data set: texts in, rows out, by an actor on every core."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def mapped(
    actor: type,
    arguments: tuple[Any, ...],
    items: Sequence[str],
    address: str,
    workers: int | None,
    on_rows: Callable[[list[dict[str, Any]]], None],
) -> list[dict[str, Any]]:
    """The rows that `actor(*arguments)` makes of the items, in any order; `on_rows` is told them as they come.

    The actor gets {"item": texts} and returns what `as_rows` makes. `address` and `workers` are those of
    `pipelines.cluster.connect`.
    """
    import ray

    from pipelines.cluster import connect, quiet_data

    rows: list[dict[str, Any]] = []
    with connect(address, workers) as cores:
        quiet_data()
        found = ray.data.from_items(
            [{"item": text} for text in items], override_num_blocks=min(len(items), 16 * cores)
        ).map_batches(
            actor,
            fn_constructor_args=arguments,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(cores, len(items))),
            num_cpus=1,
        )
        for batch in found.iter_batches(batch_size=None, prefetch_batches=0):
            new = [json.loads(text) for text in batch["row"]]
            rows += new
            on_rows(new)
    return rows


def as_rows(rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """What an actor of `mapped` returns."""
    return {"row": np.array([json.dumps(row) for row in rows])}
