"""Taking people or clips out of a data set: their rows, their place in the index, and their way back in."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, replace

import pyarrow.parquet as pq

from icface.errors import IcfaceError
from pipelines.curation.identity_check import forget_flags
from pipelines.curation.links import forget_links
from pipelines.dataset import INDEX, META, check_finished
from pipelines.exclusions import Exclusions, name_without
from pipelines.format import CLIPS, INDEX_SCHEMA, FrameWriter, read_table, with_every_reason, write_table
from pipelines.manifest import Summary, conclude
from pipelines.shard import Shard, remove_shard, shard_names, signature
from pipelines.storage import Folder


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What was taken out."""

    clips: tuple[str, ...]
    """Names of the clips that this call took out."""
    shards: int
    """Shards that were rewritten or removed."""
    hash_before: str
    """sha256 of `dataset.json` as it was: a model that was trained then names it."""
    summary: Summary


def forget(url: str, identities: Collection[str] = (), clips: Collection[str] = ()) -> Forgotten:
    """Take every clip of `identities`, and `clips` (identity/video/clip), out of the data set at `url`.

    Only the shards that hold one of them are written again. The names go into `exclusions.json` before anything is
    removed: a stopped run is finished by the same command, and `icface preprocess` never brings them back.

    Raises IcfaceError when there is no data set, it has none of a name, or another command writes it.
    """
    dataset = Folder.at(url)
    check_finished(dataset)
    with dataset.alone():
        return _forget(dataset, identities, clips)


def _forget(dataset: Folder, identities: Collection[str], clips: Collection[str]) -> Forgotten:
    data = dataset.read(META)
    before = Exclusions.read(dataset)
    members = {name: _members(dataset, name) for name in shard_names(dataset)}
    _check_known(dataset.url, [clip for names in members.values() for clip in names], before, identities, clips)

    after = replace(before, identities=before.identities | set(identities), clips=before.clips | set(clips))
    gone = {name: out for name, names in members.items() if (out := [clip for clip in names if after.holds(clip)])}
    places: dict[str, tuple[str, tuple[str, ...]]] = {}
    targets: list[str] = []
    for name, out in gone.items():
        whole, earlier = before.shards.get(name, (name, ()))
        without = tuple(sorted({*earlier, *out}))
        targets.append(name_without(whole, without))
        places[targets[-1]] = (whole, without)
    # The old names stay until all is done: a run that goes on finds the whole shards by them.
    replace(after, shards={**before.shards, **places}).write(dataset)
    dataset.remove(INDEX)
    dataset.remove_temporary()
    forget_flags(dataset, after.holds)
    forget_links(dataset, after.holds)
    # A stop in the middle of an earlier `forget` may have left a shard and what it became: both become the same now.
    for (name, out), target in zip(gone.items(), targets, strict=True):
        _rewrite(dataset, name, target, frozenset(out))
    names = shard_names(dataset)
    facts = json.loads(data) | {"shards": signature(names)}
    summary = conclude(dataset, names, facts)
    left = {name: place for name, place in {**before.shards, **places}.items() if name in names}
    replace(after, shards=left).write(dataset)
    return Forgotten(
        clips=tuple(sorted(clip for out in gone.values() for clip in out)),
        shards=len(gone),
        hash_before=hashlib.sha256(data).hexdigest(),
        summary=summary,
    )


def _check_known(
    url: str, found: list[str], before: Exclusions, identities: Collection[str], clips: Collection[str]
) -> None:
    people = {clip.split("/")[0] for clip in found} | before.identities
    unknown = [*(sorted(set(identities) - people)), *sorted(set(clips) - set(found) - before.clips)]
    if unknown:
        raise IcfaceError(
            f"{url} has no {', '.join(unknown)}; nothing was changed (clips are named identity/video/clip)"
        )


def _members(dataset: Folder, shard: str) -> list[str]:
    table = read_table(dataset.read(f"clips/{shard}.parquet"), columns=["clip"])
    return [str(name) for name in table["clip"].to_pylist()]


def _rewrite(dataset: Folder, name: str, target: str, out: frozenset[str]) -> None:
    """Write the shard `name` as `target` without the clips `out`, then remove it; one that is empty then is gone."""
    rows = read_table(dataset.read(f"clips/{name}.parquet")).to_pylist()
    kept = [row | {"shard": target} for row in rows if row["clip"] not in out]
    if kept:
        shard = Shard(target, kept[0]["split"], ())
        old = Shard(name, shard.split, ())
        index = []
        with dataset.writing(shard.frames_file) as path:
            if dataset.exists(old.frames_file):
                index = _copy(dataset, old, FrameWriter(path, shard.frames_file, shard.split), out)
                if not index:
                    path.unlink()
        with dataset.writing(shard.index_file) as path:
            write_table(path, index, INDEX_SCHEMA)
        with dataset.writing(shard.clips_file) as path:
            write_table(path, map(with_every_reason, kept), CLIPS)
    remove_shard(name, dataset)


def _copy(dataset: Folder, old: Shard, writer: FrameWriter, out: frozenset[str]) -> list[dict[str, object]]:
    """Copy the row groups of all clips but `out`; the rows of the new index."""
    with dataset.fs.open(dataset.path(old.frames_file), "rb") as stream:
        file = pq.ParquetFile(stream)
        for ordinal in range(file.num_row_groups):
            table = file.read_row_group(ordinal, use_threads=False)
            if table["clip"][0].as_py() not in out:
                writer.write(table)
    writer.close()
    return writer.index
