"""The job: clips in, a data set out, by Ray Data.

Each task writes one shard. A shard that is finished is never done again, so a job that was stopped, by whatever, goes
on where it was. The result is bit-identical.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from icface.errors import IcfaceError
from pipelines.config import PreprocessConfig
from pipelines.curation.identity_check import check_identities
from pipelines.curation.links import find_links, split_apart
from pipelines.dataset import INDEX, META, Dataset
from pipelines.format import SPLITS
from pipelines.manifest import Summary, manifest_facts, summarize, write_manifest
from pipelines.preprocess.analysis import ActorAnalysis, start_actors
from pipelines.preprocess.clip_worker import ClipWorker
from pipelines.preprocess.parts import share, write_record
from pipelines.preprocess.plan import Plan, check_options, make_plan, remove_stale_shards
from pipelines.preprocess.progress import OnProgress, Progress, counted
from pipelines.preprocess.shards_on_ray import Actors, run_shards, unpacked
from pipelines.preprocess.write_shard import write_shard
from pipelines.shard import RETRY, remove_shard
from pipelines.storage import Folder


def preprocess(config: PreprocessConfig, on_progress: OnProgress = lambda progress: None) -> Summary:
    """Make the data set, or finish it, or bring it up to date with the clips that are there now.

    `on_progress` is called about twice a second, from another thread, until this returns.

    Raises IcfaceError for a source without clips, for options that differ from those of the data set, and for a missing
    analyzer or dlib. It is raised too while another command writes the data set, where it cannot be written, and when a
    cluster does not answer. More failed or rejected clips than the options allow raise it after all is written.
    """
    source, dataset = Folder.at(config.source), Folder.at(config.dataset)
    # The processes that read clips work in other folders.
    config = replace(config, source=source.absolute)
    plan = make_plan(config, source, dataset)
    analyzer = _analyzer(config)
    if config.running.part is not None:
        return _checked(config, _part(config, config.running.part, plan, dataset, analyzer, on_progress))
    with dataset.alone():
        check_options(config, plan, dataset, analyzer)
        summary = _finished(plan, dataset)
        if summary is None:
            remove_stale_shards(plan, dataset)
            fell_back = 0
            if plan.todo:
                fell_back = _run(config, plan, dataset, on_progress)
                # A worker or node that was killed on the way left half a file.
                dataset.remove_temporary()
            summary = replace(
                write_manifest(dataset, plan.shards, plan.signature, config, analyzer),
                new_clips=plan.clips_to_do,
                fell_back=fell_back,
            )
    summary = replace(summary, passed_over=plan.passed_over)
    if config.running.check_identities:
        flagged = _flagged(config, summary, on_progress)
        summary = replace(summary, flagged=flagged, linked=_linked(config, summary, on_progress))
    return _checked(config, summary)


def _part(
    config: PreprocessConfig,
    part: tuple[int, int],
    plan: Plan,
    dataset: Folder,
    analyzer: dict[str, Any],
    on_progress: OnProgress,
) -> Summary:
    """Write one part's shards and its record, beside other parts; what it holds, counted."""
    mine = share(plan, part)
    names = {shard.name for shard in mine}
    fell_back = 0
    own = replace(plan, shards=mine, todo=tuple(shard for shard in plan.todo if shard.name in names))
    with dataset.alone(among=True):
        check_options(config, plan, dataset, analyzer)
        if own.todo:
            dataset.remove(INDEX)
            for name in names & set(plan.again):
                remove_shard(name, dataset)
                dataset.remove(f"{RETRY}/{name}")
            dataset.remove_temporary(names)
            fell_back = _run(config, own, dataset, on_progress)
            dataset.remove_temporary(names)
        write_record(dataset, part, plan, manifest_facts(plan.signature, config, analyzer))
        summary = summarize(dataset, sorted(names))
    return replace(
        summary,
        new_clips=own.clips_to_do,
        passed_over=plan.passed_over,
        part=config.running.shard,
        fell_back=fell_back,
    )


def _checked(config: PreprocessConfig, summary: Summary) -> Summary:
    """Raises IcfaceError when more clips failed or were rejected than the options allow."""
    limit = config.running.max_failed
    if summary.failed > limit * summary.clips:
        raise IcfaceError(
            f"{summary.failed} of {summary.clips} clips failed, more than --max-failed {limit:g}; the rest is written. "
            f"See why with: icface inspect {config.dataset}"
        )
    limit = config.running.max_rejected
    if summary.rejected > limit * summary.clips:
        counts = sorted(summary.reasons.items(), key=lambda item: (-item[1], item[0]))
        reasons = ", ".join(f"{reason} {count}" for reason, count in counts if reason != "failed")
        raise IcfaceError(
            f"{summary.rejected} of {summary.clips} clips were rejected ({reasons}), more than --max-rejected "
            f"{limit:g}; the rest is written. See them with: icface inspect {config.dataset}"
        )
    return summary


def _analyzer(config: PreprocessConfig) -> dict[str, Any]:
    """The record of the analyzer, with the fingerprint that the processes that use it say."""
    # This process may be on a node without a GPU; the labels' identity does not depend on the device.
    worker = ClipWorker(config.on_the_cpu())
    try:
        return config.analyzer_record(worker.start()["fingerprint"])
    finally:
        worker.close()


def _flagged(config: PreprocessConfig, summary: Summary, on_progress: OnProgress) -> int:
    """Number of clips that are not the person whose folder they lie in."""
    tell = _comparing(on_progress, "comparing identities")
    return int(check_identities(summary.url, config.running.address, config.running.workers, tell)["flagged"].sum())


def _linked(config: PreprocessConfig, summary: Summary, on_progress: OnProgress) -> tuple[int, int]:
    """Number of pairs of identities that are linked, and of those on two sides of the split."""
    tell = _comparing(on_progress, "looking for people and pictures under two names")
    links = find_links(summary.url, config.running.address, config.running.workers, tell)
    pairs = links[["identity", "other_identity"]].drop_duplicates()
    return len(pairs), int(split_apart(Dataset.open(summary.url), pairs).sum())


def _comparing(on_progress: OnProgress, stage: str) -> Callable[[int, int], None]:
    """Tells `on_progress` how much of a comparison is done."""
    progress = Progress(clips=0, total=0, frames=0, rejected=0, failed=0, seconds=0.0, stage=stage)

    def tell(done: int, total: int) -> None:
        on_progress(replace(progress, clips=done, total=total))

    return tell


def _finished(plan: Plan, dataset: Folder) -> Summary | None:
    """What the data set holds, if there is nothing left to do."""
    if plan.todo or plan.stale or not dataset.exists(INDEX) or not dataset.exists(META):
        return None
    meta = Dataset.open(dataset.url).meta
    if meta["shards"] != plan.signature:
        return None
    counts = dict(meta["counts"])
    for name in ("frames", "identities"):  # JSON has them sorted by name
        counts[name] = {split: counts[name][split] for split in SPLITS}
    return Summary(url=dataset.url, **counts)


class ShardActor:
    """A Ray Data actor that writes shards."""

    def __init__(
        self, config: PreprocessConfig, dataset: Folder, progress_actor: Any, analysis: ActorAnalysis | None
    ) -> None:
        import ray

        self.dataset, self.progress_actor = dataset, progress_actor
        self.node = ray.get_runtime_context().get_node_id()
        self.worker = ClipWorker(config, analysis)
        self.worker.start()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        before = self.worker.fell_back
        for text in batch["shard"]:
            began, self.in_clips = time.monotonic(), 0.0
            write_shard(unpacked(str(text)), self.dataset, self.worker, on_clip=self._tell)
            self.progress_actor.spent.remote({"write": time.monotonic() - began - self.in_clips})
        return {"fell_back": np.array([self.worker.fell_back - before])}

    def _tell(self, row: dict[str, Any]) -> None:
        self.in_clips += sum(self.worker.seconds.values())
        self.progress_actor.add.remote(counted(row), self.node)
        self.progress_actor.spent.remote(self.worker.seconds)


def _run(config: PreprocessConfig, plan: Plan, dataset: Folder, on_progress: OnProgress) -> int:
    """Write the shards that are left to do; how many clips fell back to the CPU (see `Summary`)."""

    def actors(progress_actor: Any, cores: int, resources: dict[str, float]) -> Actors:
        analysis = start_actors(config, resources)
        return Actors(
            kind=ShardActor,
            arguments=(config, dataset, progress_actor, analysis),
            count=_workers(config, cores, analysis, resources),
            gpus=0.0 if analysis else config.analysis.gpus,
        )

    batches = run_shards(
        plan,
        dataset,
        (config.running.address, config.running.workers),
        actors,
        on_progress,
        stage="analysing clips",
        # Long shards first, so that no process works alone at the end.
        size=lambda shard: sum(clip.size for clip in shard.clips),
    )
    return sum(int(batch["fell_back"].sum()) for batch in batches)


def _workers(config: PreprocessConfig, cores: int, analysis: ActorAnalysis | None, resources: dict[str, float]) -> int:
    """How many processes read clips, of `cores` that may."""
    if analysis:
        # Those that measure need a core each, or a part of one beside a GPU.
        return cores if config.running.workers else max(1, cores - len(analysis.actors))
    # More than have a share of a GPU would wait for one for ever.
    return min(cores, int(resources["GPU"] / config.analysis.gpus + 1e-6)) if config.analysis.gpus else cores
