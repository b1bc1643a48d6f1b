"""What a job has to do: the shards of a source, which of them are finished, and whether the options still fit."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from icface.analyzers import registration
from icface.errors import IcfaceError
from pipelines.card import CARD
from pipelines.config import PreprocessConfig, SelectionConfig
from pipelines.dataset import INDEX, MADE_BY, META, OPTIONS, RELABELLING
from pipelines.exclusions import Exclusions
from pipelines.shard import RETRY, Shard, remove_shard, shard_names, signature
from pipelines.sources import (
    Clip,
    Leftovers,
    assign_splits,
    group_clips,
    list_clips,
    official_test,
    shard_name,
    stated_splits,
)
from pipelines.storage import Folder

SHARDS = 64
"""Shards that a job should have at least, so that many processes share it evenly."""
LARGEST_SHARD = 64
"""Clips of a shard on average, at most."""


@dataclass(frozen=True)
class Plan:
    """The shards of a data set and what is left to do of them."""

    shards: tuple[Shard, ...]
    todo: tuple[Shard, ...]
    stale: tuple[str, ...]
    """Names of shards whose clips are gone or belong to another shard now."""
    again: tuple[str, ...]
    """Names of finished shards with a clip that is to be tried again."""
    shard_clips: int
    """Clips in a shard on average."""
    passed_over: tuple[str, ...] = ()
    """What lies in the source and is neither a clip nor a companion of one: sentences."""

    @property
    def clips(self) -> int:
        """Clips of the data set."""
        return sum(len(shard.clips) for shard in self.shards)

    @property
    def clips_to_do(self) -> int:
        """Clips of the shards that are left to do."""
        return sum(len(shard.clips) for shard in self.todo)

    @property
    def signature(self) -> str:
        """Identifies the contents: the names of all shards."""
        return signature(shard.name for shard in self.shards)


def make_plan(config: PreprocessConfig, source: Folder, dataset: Folder) -> Plan:
    """Find the clips, group them into shards, and see which are finished. Nothing is written.

    Clips that were taken out by `icface dataset forget` stay out. Raises IcfaceError when there are no clips, or the
    data set is being relabelled.
    """
    if dataset.local and Path(dataset.root).is_file():
        raise IcfaceError(f"{dataset.url} is a file; choose a folder for the data set")
    if dataset.exists(RELABELLING):
        raise IcfaceError(f"{dataset.url} is half relabelled: run `icface dataset relabel {dataset.url}` again first")
    leftovers = Leftovers()
    clips = list_clips(source, config.selection.layout, leftovers)
    analyzer = config.analysis.analyzer
    if registration(analyzer).reads_files and any(clip.span for clip in clips):
        raise IcfaceError(
            f"{source.url} has full videos and tracks, and the files of --analyzer {analyzer} are of clips: "
            "cut the clips first, or use --analyzer mediapipe"
        )
    finished = set(shard_names(dataset))
    if config.selection.limit is not None:
        # A smaller limit than last time throws nothing away.
        clips = clips[: max(config.selection.limit, _clips_in(dataset, finished))]
    splits = _splits(config.selection, source, clips)
    # Once begun, a data set keeps its grouping: more clips must not mean other shards.
    target = config.running.shard_clips or _options(dataset).get("shard_clips") or len(clips) // SHARDS
    target = max(1, min(LARGEST_SHARD, target))
    shards = []
    exclusions = Exclusions.read(dataset)
    for split in sorted(set(splits.values())):
        for group in group_clips([clip for clip in clips if splits[clip.identity] == split], target):
            shard = exclusions.applied(Shard(shard_name(split, group), split, tuple(group)))
            if shard.clips:
                shards.append(shard)
    again = set(dataset.names(RETRY))
    names = {shard.name for shard in shards}
    return Plan(
        shards=tuple(shards),
        todo=tuple(shard for shard in shards if shard.name not in finished or shard.name in again),
        stale=tuple(sorted(finished - names)),
        again=tuple(sorted(finished & names & again)),
        shard_clips=target,
        passed_over=tuple(leftovers.sentences()),
    )


def _splits(selection: SelectionConfig, source: Folder, clips: list[Clip]) -> dict[str, str]:
    """The split of each identity: what a csv says, then the official test set, then a hash."""
    stated = stated_splits(clips)
    rest = {clip.identity for clip in clips} - stated.keys()
    # Who gives a validation set has chosen it.
    fraction = 0.0 if "val" in stated.values() else selection.val_fraction
    splits = stated | assign_splits(rest, fraction, selection.seed, official_test(source, clips))
    if "train" not in splits.values() and selection.val_fraction < 1:
        raise IcfaceError(f"{source.url} holds no clips to train on: all {len(clips)} are of {_names(splits)}")
    return splits


def _names(splits: dict[str, str]) -> str:
    return " and ".join(f"the split {split}" for split in sorted(set(splits.values())))


def check_options(config: PreprocessConfig, plan: Plan, dataset: Folder, analyzer: dict[str, Any]) -> None:
    """Remember the options of a new data set; of one that exists, refuse other ones.

    A source that was moved is none: the clips tell. Raises IcfaceError that names each option that differs.
    """
    options: dict[str, Any] = {"source": config.source, **config.naming(), "shard_clips": plan.shard_clips}
    options["analyzer"] = f"{analyzer['name']} ({analyzer['fingerprint']})"
    known = _options(dataset)
    if not known:
        if any(dataset.exists(name) for name in ("clips", INDEX, META, CARD)):
            raise IcfaceError(f"{dataset.url} holds something else; choose another folder for the data set")
        _write_options(dataset, options)
        return
    if MADE_BY in known:
        raise IcfaceError(
            f"{dataset.url} was made by `{known[MADE_BY]}`, not of clips: choose another folder for these"
        )
    different = [
        f"{name} was {known.get(name)!r} and is {options.get(name)!r} now"
        for name in sorted(known.keys() | options.keys())
        if known.get(name) != options.get(name)
    ]
    if known.get("source") != options["source"] and _moved(plan, str(known.get("source"))):
        different = [words for words in different if not words.startswith("source ")]
        if not different:
            _write_options(dataset, options)
    if different:
        raise IcfaceError(
            f"{dataset.url} was made with other options: {'; '.join(different)}. "
            "Use the same ones, or another folder for the data set"
        )


def _write_options(dataset: Folder, options: dict[str, Any]) -> None:
    dataset.write(OPTIONS, (json.dumps(options, indent=1, sort_keys=True) + "\n").encode())


def _moved(plan: Plan, before: str) -> bool:
    """Whether the source is the one that was at `before`: a shard's name is that of its clips, wherever they lie.

    Where none of the finished shards would be thrown away, no harm can be done. Where some would, the old place must be
    gone and at least one shard must still be of these clips.
    """
    if not plan.stale:
        return True
    kept = len(plan.shards) - len(plan.todo) + len(plan.again)
    return kept > 0 and not Folder.at(before).exists("")


def remove_stale_shards(plan: Plan, dataset: Folder) -> None:
    """Remove what no longer belongs to the data set, so that nobody reads it half changed."""
    dataset.remove(INDEX)
    dataset.remove_temporary()
    for name in plan.stale + plan.again:
        remove_shard(name, dataset)
    # The marks go last: a shard without its part of `clips` is done again anyway.
    dataset.remove(RETRY)


def _options(dataset: Folder) -> dict[str, Any]:
    """What the data set was begun with; empty when it is new."""
    try:
        return dict(json.loads(dataset.read(OPTIONS)))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):
        raise IcfaceError(f"{dataset.url}/{OPTIONS} is damaged; remove the data set and start again") from None


def _clips_in(dataset: Folder, finished: set[str]) -> int:
    files = (pa.BufferReader(dataset.read(f"clips/{name}.parquet")) for name in sorted(finished))
    return sum(pq.read_metadata(file).num_rows for file in files)
