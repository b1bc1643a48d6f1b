"""Data sets made of data sets, without any video: two joined, some frames of one, or the same people split again."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from icface.licences import most_restrictive
from pipelines.card import CARD
from pipelines.curation.links import groups_of, read_links
from pipelines.dataset import MADE_BY, META, OPTIONS, Dataset
from pipelines.exclusions import EXCLUSIONS, Exclusions
from pipelines.format import (
    CLIPS,
    INDEX_SCHEMA,
    FrameWriter,
    baseline_columns,
    read_table,
    with_every_reason,
    write_table,
)
from pipelines.manifest import Summary, conclude
from pipelines.shard import Shard, shard_names, signature
from pipelines.sources.splits import assign_splits
from pipelines.storage import Folder

Rows = list[dict[str, Any]]
Choose = Callable[[pa.Table, str], pa.Table]
"""The rows of a row group of a split that are kept."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What a command makes of its data sets."""

    command: str
    sources: tuple[Dataset, ...]
    exclusions: Exclusions
    options: Mapping[str, Any]
    splits: Mapping[str, str] = field(default_factory=dict)
    """New split of each identity; the others keep theirs."""
    choose: Choose = lambda table, split: table
    whole_clips: bool = True
    """Whether clips without frames are kept in `clips`."""


def merge(urls: Sequence[str], output: str) -> Summary:
    """Join data sets into the new folder `output`. Licences and exclusions of all of them hold for the result.

    Raises IcfaceError when they were measured or cut in different ways, or `output` is not empty. So it does when a
    clip is in two of them, or a person is on two sides of the split.
    """
    sources = tuple(Dataset.open(url) for url in urls)
    exclusions = [Exclusions.read(Folder.at(url)) for url in urls]
    first = sources[0]
    for other in sources[1:]:
        for name in ("analyzer", "crop"):
            if other.meta[name] != first.meta[name]:
                raise IcfaceError(
                    f"{first.url} and {other.url} differ in {name}: {first.meta[name]}, {other.meta[name]}"
                )
        if other.truth != first.truth:
            names = " and ".join(f"{each.url} has {', '.join(each.truth) or 'none'}" for each in (first, other))
            raise IcfaceError(f"the columns of --truth differ: {names}")
        if other.size != first.size:
            raise IcfaceError(f"{first.url} has pictures of {first.size} px, {other.url} of {other.size} px")
    all_exclusions = Exclusions(
        frozenset().union(*(each.identities for each in exclusions)),
        frozenset().union(*(each.clips for each in exclusions)),
    )
    _check_apart(sources, all_exclusions)
    options = {
        name: value if all(other.meta["options"].get(name) == value for other in sources) else "differs"
        for name, value in first.meta["options"].items()
    }
    return _make(output, _Job(command="merge", sources=sources, exclusions=all_exclusions, options=options))


def subset(url: str, output: str, where: str | Choose) -> Summary:
    """Write the frames for which `where` holds to the new folder `output`; clips without one are left out.

    `where`: an SQL expression of the columns of `frames` and of `split`, read by DuckDB, as in
    `AU12 > 1.5 and split = 'train'`. It may also be a function of a row group and its split that returns the rows to
    keep. Tracks that become shorter than the data set's `--min-frames` are dropped.
    Raises IcfaceError for an expression that makes no sense or holds nowhere, or an `output` that is not empty.
    """
    dataset = Dataset.open(url)
    job = _Job(
        command="subset",
        sources=(dataset,),
        exclusions=Exclusions.read(Folder.at(url)),
        options=dataset.meta["options"],
        choose=_Where(where) if isinstance(where, str) else where,
        whole_clips=False,
    )
    return _make(output, job)


def split(url: str, output: str, val_fraction: float, seed: int = 0) -> Summary:
    """Write the data set at `url` to the new folder `output` with other people in `val`; `test` stays as it is.

    Who comes from `train` has its held-out frames back among the others; who comes to `train` has none held out. People
    whom `icface preprocess --check-identities` found to be linked are on one side; see `assign_splits`.
    Raises IcfaceError for a fraction outside 0..1, or an `output` that is not empty.
    """
    if not 0 <= val_fraction <= 1:
        raise IcfaceError(f"--val-fraction {val_fraction:g} must lie in 0..1")
    dataset = Dataset.open(url)
    before = {str(row["identity"]): str(row["split"]) for row in dataset.clips().to_dict("records")}
    test = frozenset(identity for identity, part in before.items() if part == "test")
    links = read_links(Folder.at(url))
    pairs = zip(links["identity"], links["other_identity"], strict=True)
    job = _Job(
        command="split",
        sources=(dataset,),
        exclusions=Exclusions.read(Folder.at(url)),
        options=dataset.meta["options"] | {"val_fraction": val_fraction, "seed": seed},
        splits=assign_splits(before, val_fraction, seed, test, groups_of(pairs)),
    )
    return _make(output, job)


class _Where:
    """Which rows an expression keeps."""

    def __init__(self, text: str) -> None:
        try:
            import duckdb
        except ImportError:
            raise IcfaceError("--where needs DuckDB: pip install duckdb") from None
        self.text, self.error = text, duckdb.Error
        # Expressions read columns, and no files.
        self.store = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})

    def __call__(self, table: pa.Table, split: str) -> pa.Table:
        plain = [name for name in table.column_names if not pa.types.is_nested(table.schema.field(name).type)]
        columns = table.select([name for name in plain if not pa.types.is_binary(table.schema.field(name).type)])
        columns = columns.append_column("split", pa.array([split] * len(table)))
        try:
            self.store.register("frames", columns)
            rows = self.store.table("frames").project(self.text).fetchall()
        except self.error as error:
            line = str(error).strip().splitlines()[0]
            raise IcfaceError(f"--where {self.text!r}: {line}; columns are {', '.join(columns.column_names)}") from None
        if any(len(row) != 1 or row[0] not in (True, False, None) for row in rows):
            raise IcfaceError(f"--where {self.text!r} must be one condition, true or false for each frame")
        return table.filter(pa.array([bool(row[0]) for row in rows], pa.bool_()))


def _check_apart(sources: Sequence[Dataset], exclusions: Exclusions) -> None:
    """Raise IcfaceError when a clip is in two data sets, or a person on two sides."""
    clips: dict[str, int] = {}
    people: dict[str, tuple[str, str]] = {}
    for number, dataset in enumerate(sources):
        for row in dataset.clips()[["clip", "identity", "split"]].to_dict("records"):
            name, who, part = str(row["clip"]), str(row["identity"]), str(row["split"])
            if exclusions.holds(name):
                continue
            if clips.setdefault(name, number) != number:
                first = sources[clips[name]].url
                raise IcfaceError(f"the clip {name} is in {first} and in {dataset.url}: take it out of one")
            known, place = people.setdefault(who, (part, dataset.url))
            if known != part:
                raise IcfaceError(
                    f"{who} is {known} in {place} and {part} in {dataset.url}: bring one of them to the other's split "
                    "by `icface dataset split`, or take the person out of one"
                )


def _make(output: str, job: _Job) -> Summary:
    out = Folder.at(output)
    with out.alone():
        if not out.empty:
            raise IcfaceError(f"{output} is not empty; choose another folder")
        try:
            return _fill(out, job)
        except BaseException:
            # It was empty: what lies there now is half a data set, and would be in the way of the next try.
            for name in ("frames", "clips", "index", OPTIONS, EXCLUSIONS, META, CARD):
                out.remove(name)
            raise


def _fill(out: Folder, job: _Job) -> Summary:
    names = [name for dataset in job.sources for old in _shards(dataset) for name in _rewrite(out, job, dataset, old)]
    if not names:
        raise IcfaceError(f"no frame is left: {out.url} would be empty")
    made = {MADE_BY: f"icface dataset {job.command}", "of": [dataset.hash for dataset in job.sources]}
    out.write(OPTIONS, (json.dumps(made, indent=1, sort_keys=True) + "\n").encode())
    exclusions = Exclusions(job.exclusions.identities, job.exclusions.clips)
    if exclusions != Exclusions():
        exclusions.write(out)
    first = job.sources[0].meta
    facts = {
        "analyzer": first["analyzer"],
        "crop": first["crop"],
        "options": dict(job.options),
        "sources": sorted({source for dataset in job.sources for source in dataset.meta["sources"]}),
        "licence": most_restrictive(*(dataset.licence for dataset in job.sources)),
        "shards": signature(names),
    }
    return conclude(out, names, facts)


def _shards(dataset: Dataset) -> list[str]:
    return shard_names(Folder.at(dataset.url))


def _rewrite(out: Folder, job: _Job, dataset: Dataset, old: str) -> list[str]:
    """Write what is kept of a shard, by split; the names of the new shards."""
    source = Folder.at(dataset.url)
    rows = [
        row
        for row in read_table(source.read(f"clips/{old}.parquet")).to_pylist()
        if not job.exclusions.holds(row["clip"])
    ]
    by_split: defaultdict[str, Rows] = defaultdict(list)
    for row in rows:
        by_split[job.splits.get(row["identity"], row["split"])].append(row)
    names = []
    for part, mine in sorted(by_split.items()):
        digest = hashlib.sha256("\0".join([job.command, dataset.hash, old, part]).encode())
        shard = Shard(digest.hexdigest()[:20], part, ())
        if _write(out, job, source, old, shard, mine):
            names.append(shard.name)
    return names


def _write(out: Folder, job: _Job, source: Folder, old: str, shard: Shard, rows: Rows) -> bool:
    """Write a new shard of clips of an old one; whether there was anything to write."""
    clips = {row["clip"]: row for row in rows}
    file = Shard(old, rows[0]["split"], ()).frames_file
    measured: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    counts: defaultdict[str, int] = defaultdict(int)
    index: Rows = []
    if source.exists(file):
        with out.writing(shard.frames_file) as path:
            writer = FrameWriter(path, shard.frames_file, shard.split)
            for table in _tables(source, file, job, rows[0]["split"], shard.split, clips):
                clip = str(table["clip"][0].as_py())
                counts[clip] += len(table)
                if not table["held_out"][0].as_py():
                    measured[clip].append(np.stack([table[name].to_numpy() for name in ATTRIBUTE_NAMES], axis=1))
                writer.write(table)
            writer.close()
            index = writer.index
            if not index:
                path.unlink()
    kept = [row for row in rows if job.whole_clips or counts[row["clip"]]]
    if not kept:
        return False
    empty = np.empty((0, len(ATTRIBUTE_NAMES)), np.float32)
    for row in kept:
        row |= {"split": shard.split, "shard": shard.name}
        if row["frames_kept"] != counts[row["clip"]]:
            row |= {"frames_kept": counts[row["clip"]]}
            row |= baseline_columns(np.concatenate([empty, *measured[row["clip"]]]))
    with out.writing(shard.index_file) as path:
        write_table(path, index, INDEX_SCHEMA)
    with out.writing(shard.clips_file) as path:
        write_table(path, map(with_every_reason, kept), CLIPS)
    return True


def _tables(
    source: Folder, file: str, job: _Job, before: str, after: str, clips: Mapping[str, Any]
) -> Iterator[pa.Table]:
    """The new row groups of an old file: rows chosen, tracks that are too short dropped, held out where it counts."""
    least = int(job.options.get("min_frames") or 1) if not job.whole_clips else 1
    with source.fs.open(source.path(file), "rb") as stream:
        parquet = pq.ParquetFile(stream)
        track: list[pa.Table] = []
        for ordinal in range(parquet.num_row_groups):
            table = parquet.read_row_group(ordinal, use_threads=False)
            if str(table["clip"][0].as_py()) not in clips:
                continue
            table = job.choose(table, before)
            if not len(table):
                continue
            if before == "train" and after != "train":
                place = table.schema.get_field_index("held_out")
                table = table.set_column(place, table.schema.field(place), pa.array([False] * len(table)))
            if track and _key(track[0]) != _key(table):
                yield from track if sum(map(len, track)) >= least else ()
                track = []
            track.append(table)
        yield from track if sum(map(len, track)) >= least else ()


def _key(table: pa.Table) -> tuple[str, int]:
    return str(table["clip"][0].as_py()), int(table["track"][0].as_py())
