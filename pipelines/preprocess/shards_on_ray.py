"""Shards that actors of Ray Data write, while the driver tells how far they are."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from icface.errors import IcfaceError, root_cause
from pipelines.preprocess.plan import Plan
from pipelines.preprocess.progress import OnProgress, Progress, ProgressActor
from pipelines.shard import Shard
from pipelines.sources import Clip
from pipelines.storage import Folder

PROGRESS_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Actors:
    """Who writes the shards."""

    kind: type
    """A class for `map_batches`; its batches have one column `shard`, which `unpacked` reads."""
    arguments: tuple[Any, ...]
    """Of its constructor."""
    count: int
    """Processes, with a core each."""
    gpus: float = 0.0
    """GPUs of each process."""


def run_shards(
    plan: Plan,
    dataset: Folder,
    place: tuple[str, int | None],
    actors: Callable[[Any, int, dict[str, float]], Actors],
    on_progress: OnProgress,
    *,
    stage: str,
    size: Callable[[Shard], int],
) -> list[dict[str, np.ndarray]]:
    """Have the plan's shards written that are left to do, the largest first; what the actors return, a batch a shard.

    `place`: address of the cluster, and processes at most. `actors` gets the actor that counts progress, the cores that
    may be used and the cluster's resources. Raises IcfaceError when the cluster does not answer or the job dies.
    """
    done = plan.clips - sum(len(shard.clips) for shard in plan.todo)
    start = Progress(clips=done, total=plan.clips, frames=0, rejected=0, failed=0, seconds=0.0, stage="starting Ray")
    on_progress(start)
    import ray

    from pipelines.cluster import connect, quiet_data

    with connect(*place) as cores:
        quiet_data()
        progress_actor = ray.remote(num_cpus=0)(ProgressActor).remote(dataset.url, plan.clips_to_do)
        chosen = actors(progress_actor, cores, ray.cluster_resources())
        todo = sorted(plan.todo, key=lambda shard: (-size(shard), shard.name))
        shards = ray.data.from_items(
            [{"shard": packed(shard)} for shard in todo], override_num_blocks=len(todo)
        ).map_batches(
            chosen.kind,
            fn_constructor_args=chosen.arguments,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(chosen.count, len(todo))),
            num_cpus=1,
            num_gpus=chosen.gpus or None,
        )
        with reporting(progress_actor, start, on_progress, stage):
            try:
                batches: list[Any] = list(shards.iter_batches(batch_size=None, prefetch_batches=0))
            except ray.exceptions.RayError as error:
                cause = root_cause(error)
                raise IcfaceError(f"the job stopped: {cause}; run the same command again to go on") from None
    return batches


@contextmanager
def reporting(progress_actor: Any, start: Progress, on_progress: OnProgress, stage: str) -> Iterator[None]:
    """Call `on_progress` with what the actor counted until the block ends; `stage` says what is being done."""
    import ray

    stop = threading.Event()

    def report() -> None:
        since = None
        while not stop.wait(PROGRESS_SECONDS):
            try:
                counts = ray.get(progress_actor.read.remote(), timeout=10)
            except ray.exceptions.RayError:
                continue
            since = since or time.monotonic()
            on_progress(
                replace(
                    start,
                    clips=start.clips + counts["new"],
                    seconds=time.monotonic() - since,
                    stage=stage,
                    **counts,
                )
            )

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=15)


def packed(shard: Shard) -> str:
    """A shard as text that `unpacked` reads: what Ray Data carries."""
    return json.dumps([shard.name, shard.split, [clip.to_json() for clip in shard.clips]])


def unpacked(text: str) -> Shard:
    """The shard that `packed` wrote."""
    name, split, clips = json.loads(text)
    return Shard(name, split, tuple(Clip.from_json(clip) for clip in clips))
