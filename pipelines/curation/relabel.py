"""New labels for a data set whose pictures stay as they are: by the present mapping, or from OpenFace's files."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from icface.analyzers.blendshapes import MAPPING_VERSION, attributes_from_blendshapes
from icface.analyzers.openface import OpenFaceAnalyzer
from icface.analyzers.registry import SYNTHETIC, OpenFaceOptions, record
from icface.attributes import ATTRIBUTE_NAMES
from icface.control.mapping import same_scale
from icface.errors import IcfaceError
from pipelines.dataset import INDEX, META, OPTIONS, RELABELLING, check_finished
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
from pipelines.shard import Shard, shard_names
from pipelines.storage import Folder

ReadLabels = Callable[[pa.Table], npt.NDArray[np.float32]]
"""(rows, 20) attributes of a row group, NaN where not measured."""


@dataclass(frozen=True)
class Relabelled:
    """What was done."""

    analyzer: dict[str, Any]
    """`name` and `fingerprint` of who measures now."""
    summary: Summary


def relabel(
    url: str, openface_root: str | None = None, on_shard: Callable[[int, int], None] | None = None
) -> Relabelled:
    """Make the attributes of every frame again, without any video.

    By default they come from the stored blendshapes, face matrix and landmarks, by the present mapping. These are
    stored in half precision, so attributes differ from those of the analysis by up to about 0.01. With `openface_root`
    they come from OpenFace's csv files `identity/video/clip.csv` under it. A frame in which OpenFace has no face
    (success 0, low confidence) is dropped and counted as such. A clip that loses all its frames is rejected.

    `dataset.json` names the new analyzer. A stopped run is finished by the same command; until then nothing else
    opens the data set. Raises IcfaceError, before anything is changed, when a shard lacks what is needed; also while
    another command writes the data set.
    """
    dataset = Folder.at(url)
    check_finished(dataset)
    with dataset.alone():
        return _relabelled(dataset, openface_root, on_shard or (lambda done, total: None))


def _relabelled(dataset: Folder, openface_root: str | None, on_shard: Callable[[int, int], None]) -> Relabelled:
    meta = json.loads(dataset.read(META))
    shards = [_shard(dataset, name) for name in shard_names(dataset)]
    labels: ReadLabels
    if openface_root is None:
        analyzer = _remapped(dataset.url, dict(meta["analyzer"]))
        labels = _from_blendshapes
    else:
        source = OpenFaceAnalyzer(openface_root)
        analyzer = record("openface", OpenFaceOptions(root=openface_root), source.fingerprint)
        labels = _FromFiles(source)
        for shard in shards:
            for row in _clip_rows(dataset, shard):
                if row["status"] == "ok":
                    source.frames(row["clip"])
    dataset.write(RELABELLING, json.dumps(analyzer).encode())
    dataset.remove(INDEX)
    dataset.remove_temporary()
    for done, shard in enumerate(shards, start=1):
        _relabel(dataset, shard, labels)
        on_shard(done, len(shards))
    # A later preprocess goes on only with the analyzer that the labels now come from.
    options = json.loads(dataset.read(OPTIONS)) | {"analyzer": f"{analyzer['name']} ({analyzer['fingerprint']})"}
    dataset.write(OPTIONS, (json.dumps(options, indent=1, sort_keys=True) + "\n").encode())
    summary = conclude(dataset, [shard.name for shard in shards], meta | {"analyzer": analyzer})
    dataset.remove(RELABELLING)
    return Relabelled(analyzer, summary)


def _remapped(url: str, analyzer: dict[str, Any]) -> dict[str, Any]:
    """The MediaPipe analyzer of the data set, by the present mapping."""
    if analyzer["name"] == SYNTHETIC:
        raise IcfaceError(
            f"{url} shows synthetic people, whose attributes are exact: there is nothing to measure again"
        )
    before, separator, _ = analyzer["fingerprint"].partition(", mapping ")
    if not same_scale(analyzer["name"], "mediapipe") or not separator:
        raise IcfaceError(
            f"{url} was labelled by {analyzer['name']}, which stores no blendshapes: preprocess the clips with "
            "--analyzer mediapipe, or give --openface-root"
        )
    return analyzer | {"fingerprint": f"{before}, mapping {MAPPING_VERSION}"}


def _from_blendshapes(table: pa.Table) -> npt.NDArray[np.float32]:
    rows = len(table)
    # Fractions of a square crop: x and y have the same unit, which is all that the mapping asks for.
    points = _lists(table, "landmarks").reshape(rows, 68, 2)
    return attributes_from_blendshapes(_lists(table, "blendshapes"), _lists(table, "face_matrix"), points)


class _FromFiles:
    def __init__(self, source: OpenFaceAnalyzer) -> None:
        self.source = source

    def __call__(self, table: pa.Table) -> npt.NDArray[np.float32]:
        clip = str(table["clip"][0].as_py())
        frames = table["frame"].to_pylist()
        return np.stack([self.source.attributes(clip, frame) for frame in frames])


def _lists(table: pa.Table, name: str) -> npt.NDArray[np.float32]:
    values = table[name].combine_chunks()
    return np.asarray(values.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(len(table), -1)


def _shard(dataset: Folder, name: str) -> Shard:
    split = read_table(dataset.read(f"clips/{name}.parquet"), columns=["split"])["split"][0].as_py()
    return Shard(name, str(split), ())


def _clip_rows(dataset: Folder, shard: Shard) -> list[dict[str, Any]]:
    return list(read_table(dataset.read(shard.clips_file)).to_pylist())


def _relabel(dataset: Folder, shard: Shard, labels: ReadLabels) -> None:
    """Write the shard's frames, index and baselines again; each file changes at once or not at all."""
    if not dataset.exists(shard.frames_file):
        return
    measured: dict[str, list[npt.NDArray[np.float32]]] = {}
    kept = Counter[str]()
    with dataset.writing(shard.frames_file) as path:
        writer = FrameWriter(path, shard.frames_file, shard.split)
        for table in _row_groups(dataset, shard):
            values = labels(table)
            labelled = np.isfinite(values[:, 0])
            clip = str(table["clip"][0].as_py())
            kept[clip] += int(labelled.sum())
            if not labelled.any():
                continue
            table, values = table.filter(pa.array(labelled)), values[labelled]
            for column, name in enumerate(ATTRIBUTE_NAMES):
                new = pa.array(values[:, column], pa.float32(), mask=np.isnan(values[:, column]))
                table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), new)
            if not table["held_out"][0].as_py():
                measured.setdefault(clip, []).append(values)
            writer.write(table)
        writer.close()
        if not writer.index:
            path.unlink()
    with dataset.writing(shard.index_file) as path:
        write_table(path, writer.index, INDEX_SCHEMA)
    none = np.empty((0, len(ATTRIBUTE_NAMES)), np.float32)
    rows = _clip_rows(dataset, shard)
    for row in rows:
        if row["status"] == "ok":
            row |= baseline_columns(np.concatenate([none, *measured.get(row["clip"], [])]))
            # Not counted above: a run that goes on after a stop here finds the frames gone.
            row["dropped_low_confidence"] += row["frames_kept"] - kept[row["clip"]]
            row["frames_kept"] = kept[row["clip"]]
            if not row["frames_kept"]:
                row |= {"status": "rejected", "reason": "low confidence"}
    with dataset.writing(shard.clips_file) as path:
        write_table(path, map(with_every_reason, rows), CLIPS)
    if not writer.index:
        dataset.remove(shard.frames_file)  # last: without it a run that goes on leaves the shard as it is


def _row_groups(dataset: Folder, shard: Shard) -> Iterator[pa.Table]:
    with dataset.fs.open(dataset.path(shard.frames_file), "rb") as stream:
        file = pq.ParquetFile(stream)
        for ordinal in range(file.num_row_groups):
            yield file.read_row_group(ordinal, use_threads=False)
