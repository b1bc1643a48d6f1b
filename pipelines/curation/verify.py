"""Whether a data set is whole: its files held against its index, and everything counted again."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.images import decode_image
from icface.video.pictures import sha256_of_pictures
from icface.weights import sha256_of
from pipelines.dataset import Dataset
from pipelines.exclusions import Exclusions
from pipelines.format import INDEX_SCHEMA, SPLITS, attribute_statistics, frames_schema, read_table
from pipelines.manifest import summarize
from pipelines.shard import RETRY, shard_names, signature
from pipelines.sources.fetch import home, located
from pipelines.storage import TEMPORARY, Folder

OnShard = Callable[[int, int], None]
SHARE_TOLERANCE = 1e-6


@dataclass
class Verified:
    """What was looked at, and what is wrong."""

    problems: list[str] = field(default_factory=list)
    """A sentence each; empty when all is well."""
    shards: int = 0
    row_groups: int = 0
    frames: int = 0


def verify(url: str, source: str | None = None, on_shard: OnShard = lambda done, total: None) -> Verified:
    """Read every file of the data set at `url` once, and compare all that can be compared. Nothing is changed.

    It compares the index with the files, people with splits and exclusions, and the counts. It checks statistics,
    shares of missing values, keys, and one picture of each row group. It names files that belong to nothing. Files
    written since page checksums are kept are checked for flipped bits as well. With `source`, the clips there must have
    the stored sha256.

    Raises IcfaceError when there is no finished data set.
    """
    dataset, folder = Dataset.open(url), Folder.at(url)
    found = Verified()
    names = shard_names(folder)
    found.shards = len(names)
    index = dataset.index
    by_file: dict[str, list[dict[str, Any]]] = {
        str(file): [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]
        for file, rows in index.groupby("file", sort=True)
    }
    schema = frames_schema(dataset.truth)
    found.problems += _stray(folder, names, set(by_file), dataset.meta)
    clips: dict[str, dict[str, Any]] = {}
    kept: Counter[str] = Counter()
    for number, name in enumerate(names, start=1):
        try:
            rows = read_table(folder.read(f"clips/{name}.parquet")).to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            found.problems.append(f"clips/{name}.parquet cannot be read: {_line(error)}")
            continue
        twice = [row["clip"] for row in rows if row["clip"] in clips]
        found.problems += [f"clip {clip} is in two shards" for clip in twice]
        clips |= {row["clip"]: row for row in rows}
        for split in sorted({row["split"] for row in rows}):
            file = f"frames/split={split}/{name}.parquet"
            if file in by_file:
                found.problems += _frames(folder, file, by_file[file], schema, found, kept)
        on_shard(number, len(names))
    found.problems += _clips(clips, kept)
    found.problems += _people(index, clips, Exclusions.read(folder))
    found.problems += _counted(folder, names, dataset)
    if source is not None:
        found.problems += _sources(Folder.at(source), clips)
    return found


def _stray(folder: Folder, names: list[str], files: set[str], meta: dict[str, Any]) -> Iterator[str]:
    """Files that belong to nothing, and those that are missing."""
    if signature(names) != meta["shards"]:
        yield "the shards are not those that dataset.json was written for: run `icface preprocess` again"
    there = {f"frames/split={split}/{name}" for split in SPLITS for name in folder.names(f"frames/split={split}")}
    yield from (f"{file} is missing" for file in sorted(files - there))
    yield from (f"{file} is in no index" for file in sorted(there - files))
    parts = {name.removesuffix(".parquet") for name in folder.names("index", ".parquet")}
    yield from (f"index/{name}.parquet is missing" for name in sorted(set(names) - parts))
    yield from (f"index/{name}.parquet belongs to no shard" for name in sorted(parts - set(names)))
    marked = [name for name in folder.names(RETRY) if name in names]
    yield from (f"shard {name} has a clip that the next `icface preprocess` tries again" for name in marked)
    if folder.local:
        left = [entry for entry in folder.fs.find(folder.root) if entry.endswith(TEMPORARY)]
        yield from (f"{path[len(folder.root) + 1 :]} was left by a killed process" for path in sorted(left))


def _frames(
    folder: Folder, file: str, rows: list[dict[str, Any]], schema: pa.Schema, found: Verified, kept: Counter[str]
) -> Iterator[str]:
    """A file of frames against its rows of the index."""
    try:
        with folder.fs.open(folder.path(file), "rb") as stream:
            parquet = pq.ParquetFile(stream, page_checksum_verification=True)
            if not parquet.schema_arrow.equals(schema):
                yield f"{file} has other columns than this icface writes"
                return
            if parquet.num_row_groups != len(rows):
                yield f"{file} has {parquet.num_row_groups} row groups, and the index {len(rows)} of it"
                return
            for row in sorted(rows, key=lambda row: int(row["ordinal"])):
                table = parquet.read_row_group(row["ordinal"], use_threads=False)
                found.row_groups += 1
                found.frames += len(table)
                kept[str(row["clip"])] += len(table)
                yield from _group(f"{file}, row group {row['ordinal']}", table, row)
    except (OSError, pa.ArrowInvalid) as error:
        yield f"{file} cannot be read: {_line(error)}"


def _group(place: str, table: pa.Table, row: dict[str, Any]) -> Iterator[str]:
    if len(table) != row["rows"]:
        yield f"{place} has {len(table)} rows, and the index says {row['rows']}"
        return
    for name in ("identity", "clip", "track", "held_out"):
        values = set(table[name].to_pylist())
        if values != {row[name]}:
            yield f"{place}: {name} is {', '.join(map(str, sorted(values)[:3]))}, and {row[name]} in the index"
    frames = table["frame"].to_pylist()
    if any(late <= early for early, late in pairwise(frames)):
        yield f"{place}: the frames do not ascend"
    for name, value in attribute_statistics(table).items():
        stored = row[name]
        written = None if value is None else pa.scalar(value, INDEX_SCHEMA.field(name).type).as_py()
        if written != (None if pd.isna(stored) else stored):
            yield f"{place}: {name} is {value}, and {stored} in the index"
    for name in [column.name for column in table.schema if pa.types.is_binary(column.type)]:
        try:
            decode_image(table[name][len(table) // 2].as_py())
        except IcfaceError as error:
            yield f"{place}: a picture cannot be decoded ({name}): {_line(error)}"


def _clips(clips: dict[str, dict[str, Any]], kept: Counter[str]) -> Iterator[str]:
    for name, row in sorted(clips.items()):
        if row["frames_kept"] != kept[name]:
            yield f"clip {name} has {kept[name]} frames, and `clips` says {row['frames_kept']}"
        if (row["status"] == "ok") != (row["frames_kept"] > 0):
            yield f"clip {name} is {row['status']} with {row['frames_kept']} frames"
    yield from (f"clip {name} has frames and no row in `clips`" for name in sorted(kept.keys() - clips.keys()))


def _people(index: Any, clips: dict[str, dict[str, Any]], exclusions: Exclusions) -> Iterator[str]:
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for row in clips.values():
        splits[row["identity"]].add(row["split"])
    for identity, split in index[["identity", "split"]].drop_duplicates().itertuples(index=False):
        splits[identity].add(split)
    yield from (
        f"{who} is in the splits {' and '.join(sorted(at))}" for who, at in sorted(splits.items()) if len(at) > 1
    )
    yield from (f"clip {name} was taken out, and is there" for name in sorted(clips) if exclusions.holds(name))


def _counted(folder: Folder, names: list[str], dataset: Dataset) -> Iterator[str]:
    """Counts and shares of missing values in dataset.json against those of the shards."""
    try:
        summary = summarize(folder, names)
    except (OSError, pa.ArrowInvalid):
        return  # told above
    for name, stored in dataset.meta["counts"].items():
        if getattr(summary, name) != stored:
            yield f"dataset.json counts {json.dumps(stored)} {name}, and there are {json.dumps(getattr(summary, name))}"
    index = dataset.index
    train = index[(index["split"] == "train") & ~index["held_out"]]
    train = train if len(train) else index
    rows = max(int(train["rows"].sum()), 1)
    for attribute in dataset.schema.attributes:
        share = 1 - float(train[f"{attribute.name}_nulls"].sum()) / rows if attribute.name in ATTRIBUTE_NAMES else None
        if share is not None and abs(share - attribute.measured_share) > SHARE_TOLERANCE:
            yield f"{attribute.name} is measured on {share:.2%}, and dataset.json says {attribute.measured_share:.2%}"


def _sources(source: Folder, clips: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Clips whose file is gone or has another checksum than when it was analysed."""
    if not source.local:
        raise IcfaceError(f"--source {source.url}: checksums are compared with local clips")
    known: dict[str, str] = {}
    for name, row in sorted(clips.items()):
        if row["sha256"] is None:
            continue
        folder, path = located(home(source), row["path"])
        place = folder.path(path)
        if not folder.exists(path):
            yield f"clip {name}: {row['path']} is gone from {source.url}"
            continue
        if place not in known:
            known[place] = sha256_of_pictures(place) if folder.fs.isdir(place) else sha256_of(Path(place))
        if known[place] != row["sha256"]:
            yield f"clip {name}: {row['path']} is another file than the one that was analysed"


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
