"""The end of a job: the parts of the finished shards put together into `dataset.json` and `index.parquet`."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import icface
from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema, Seen
from icface.spread import evenly
from pipelines.card import CARD, card
from pipelines.config import PreprocessConfig
from pipelines.dataset import INDEX, META
from pipelines.format import CLIPS, INDEX_SCHEMA, SPLITS, VERSION, read_table, write_table
from pipelines.shard import Shard
from pipelines.storage import Folder

SAMPLED_GROUPS = 512
"""Row groups at most that are read for the percentiles of the attributes: a quarter of a million frames."""
READERS = 16
"""Small files that are read at the same time."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a data set holds."""

    url: str
    clips: int
    ok: int
    rejected: int
    failed: int
    reasons: dict[str, int]
    """How many clips were rejected or failed for which reason."""
    frames: dict[str, int]
    """Frames of each split."""
    identities: dict[str, int]
    """People of each split who have frames."""
    new_clips: int = 0
    """Clips that this run looked at."""
    half_lost: int = 0
    """Clips that are ok although most of their frames show no face."""
    flagged: int | None = None
    """Clips that are not the person whose folder they lie in; None without `--check-identities`."""
    linked: tuple[int, int] | None = None
    """Pairs of identities that share pictures or a face, and those of them on two sides of the split; None as above."""
    part: str | None = None
    """`--shard` where this is one part of a data set."""
    fell_back: int = 0
    """Clips of this run that were measured on the CPU because a process was lost."""
    passed_over: tuple[str, ...] = ()
    """What lies in the source and was not taken for a clip, sentences."""


def write_manifest(
    dataset: Folder, shards: Iterable[Shard], signature: str, config: PreprocessConfig, analyzer: dict[str, Any]
) -> Summary:
    """Write `dataset.json` and then `index.parquet`, which makes the data set readable."""
    return conclude(dataset, [shard.name for shard in shards], manifest_facts(signature, config, analyzer))


def manifest_facts(signature: str, config: PreprocessConfig, analyzer: dict[str, Any]) -> dict[str, Any]:
    """What `dataset.json` says beside the counts."""
    return {
        "analyzer": analyzer,
        "crop": config.pictures.rule().to_json(),
        "options": config.naming(),
        "sources": [config.source],
        "licence": config.selection.licence,
        "shards": signature,
    }


def summarize(dataset: Folder, shards: list[str]) -> Summary:
    """What the shards of these names hold; nothing is written."""
    return Summary(url=dataset.url, **_counts(_index(dataset, shards), _clips(dataset, shards)))


def _index(dataset: Folder, shards: list[str]) -> pa.Table:
    index = _gathered(dataset, [f"index/{name}.parquet" for name in shards], INDEX_SCHEMA)
    return index.sort_by(
        [("split", "ascending"), ("clip", "ascending"), ("track", "ascending"), ("ordinal", "ascending")]
    )


def _clips(dataset: Folder, shards: list[str]) -> pa.Table:
    columns = ["clip", "status", "reason", "frames_read", "dropped_no_face"]
    return _gathered(dataset, [f"clips/{name}.parquet" for name in shards], CLIPS, columns)


def conclude(dataset: Folder, shards: list[str], facts: dict[str, Any]) -> Summary:
    """Count what the shards of these names hold; write `dataset.json` with it and `facts`, the card, then the index."""
    index = _index(dataset, shards)
    counts = _counts(index, _clips(dataset, shards))
    meta = facts | {
        "format": VERSION,
        "icface": icface.__version__,
        "counts": counts,
        "attributes": _schema(dataset, index).to_json(),
    }
    data = (json.dumps(meta, indent=1, sort_keys=True) + "\n").encode()
    dataset.write(META, data)
    files = {split: f"frames/split={split}/*.parquet" for split in SPLITS}
    dataset.write(CARD, card(meta, hashlib.sha256(data).hexdigest(), files).encode())
    with dataset.writing(INDEX) as path:
        write_table(path, index, INDEX_SCHEMA)
    return Summary(url=dataset.url, **counts)


def _gathered(dataset: Folder, files: list[str], schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """The tables of many small files as one."""

    def read(name: str) -> pa.Table:
        return read_table(dataset.read(name), columns=columns)

    with ThreadPoolExecutor(READERS) as pool:
        tables = list(pool.map(read, files))
    empty = schema.empty_table()
    return pa.concat_tables([empty.select(columns) if columns else empty, *tables])


def _counts(index: pa.Table, clips: pa.Table) -> dict[str, Any]:
    status = Counter(clips["status"].to_pylist())
    reasons = Counter(
        str(reason).split(" (")[0] if state == "rejected" else "failed"
        for state, reason in zip(clips["status"].to_pylist(), clips["reason"].to_pylist(), strict=True)
        if state != "ok"
    )
    parts = {split: index.filter(pc.field("split") == split) for split in SPLITS}
    return {
        "clips": len(clips),
        **{name: status[name] for name in ("ok", "rejected", "failed")},
        "reasons": dict(sorted(reasons.items())),
        "half_lost": int(pc.sum(_half_lost(clips)).as_py() or 0),
        "frames": {split: int(pc.sum(part["rows"]).as_py() or 0) for split, part in parts.items()},
        "identities": {split: len(pc.unique(part["identity"])) for split, part in parts.items()},
    }


def _half_lost(clips: pa.Table) -> pa.ChunkedArray:
    """Whether each clip is ok although most of its frames show no face."""
    lost = pc.greater(pc.multiply(clips["dropped_no_face"], 2), clips["frames_read"])
    return pc.and_(pc.equal(clips["status"], "ok"), lost)


def _schema(dataset: Folder, index: pa.Table) -> AttributeSchema:
    """The attributes with the share of the training frames on which each was measured, and what these show.

    Where nobody is trained on, of all frames.
    """
    train = index.filter((pc.field("split") == "train") & ~pc.field("held_out"))
    if not len(train):
        train = index
    rows = int(pc.sum(train["rows"]).as_py() or 0)
    nulls = {name: int(pc.sum(train[f"{name}_nulls"]).as_py() or 0) for name in ATTRIBUTE_NAMES}
    shares = {name: 1 - count / rows if rows else 0.0 for name, count in nulls.items()}
    return AttributeSchema.default().with_measured_shares(shares).with_seen(_seen(dataset, train))


def _seen(dataset: Folder, train: pa.Table) -> dict[str, Seen]:
    """What the training frames show: the ends of all of them, percentiles of evenly spread row groups."""
    chosen = evenly(range(len(train)), SAMPLED_GROUPS) if len(train) else np.empty(0, int)
    groups = train.take(chosen).select(["file", "ordinal"]).to_pylist()
    columns = list(ATTRIBUTE_NAMES)

    def read(group: dict[str, Any]) -> pa.Table:
        with dataset.fs.open(dataset.path(group["file"]), "rb") as stream:
            return pq.ParquetFile(stream).read_row_group(group["ordinal"], columns=columns, use_threads=False)

    with ThreadPoolExecutor(READERS) as pool:
        rows = pa.concat_tables(pool.map(read, groups)) if groups else None
    seen = {}
    for name in ATTRIBUTE_NAMES:
        values = rows[name].drop_null().to_numpy() if rows is not None else np.empty(0)
        if len(values):
            ends = [pc.min(train[f"{name}_min"]).as_py(), pc.max(train[f"{name}_max"]).as_py()]
            low, *middle, high = np.round([ends[0], *np.percentile(values, [1, 50, 99]), ends[1]], 4).tolist()
            seen[name] = Seen(min=low, p01=middle[0], p50=middle[1], p99=middle[2], max=high)
    return seen
