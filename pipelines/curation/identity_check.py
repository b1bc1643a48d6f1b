"""`--check-identities`: which clips are not the person whose folder they lie in.

A step of its own after the shards, because it compares the clips of an identity with each other. One stored picture a
clip is looked at. What is kept is a flag and a distance a clip; embeddings never leave the process that compares them.
`pipelines.curation.links` compares the identities with each other.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from icface.identity import FaceEmbedder, distances, mismatched_identities
from icface.images import decode_image
from pipelines.curation.ray_map import as_rows, mapped
from pipelines.dataset import Dataset, RowGroup
from pipelines.format import read_table, write_table
from pipelines.storage import Folder

IDENTITIES = "identities.parquet"

SCHEMA = pa.schema(
    [
        pa.field("clip", pa.string(), nullable=False),
        pa.field("identity", pa.string(), nullable=False),
        # Median L2 distance to the identity's other clips, null when there is none.
        pa.field("distance", pa.float32()),
        pa.field("flagged", pa.bool_(), nullable=False),
        # Hash of the identity's clips: it is compared again when they changed.
        pa.field("members", pa.string(), nullable=False),
    ]
)
"""One row a clip that has frames, sorted by clip."""


def check_identities(
    url: str, address: str, workers: int | None, on_identity: Callable[[int, int], None]
) -> pd.DataFrame:
    """Compare the clips of every identity, and write what is found to `identities.parquet`; returns that table.

    Identities whose clips are the same as last time are not looked at again. The result does not depend on the number
    of processes. `on_identity` is told how many identities are done, and of how many. Raises IcfaceError when dlib or
    its weights are missing.
    """
    dataset, folder = Dataset.open(url), Folder.at(url)
    members = _members(dataset)
    known = {(row["clip"], row["members"]): row for row in _stored(folder).to_pylist()}
    rows: list[dict[str, Any]] = []
    todo: dict[str, str] = {}
    for identity, (groups, name) in members.items():
        clips = sorted({group.clip for group in groups})
        if len(clips) == 1:
            rows.append(_row(clips[0], identity, None, False, name))
        elif all((clip, name) in known for clip in clips):
            rows += [known[clip, name] for clip in clips]
        else:
            todo[identity] = json.dumps([identity, name, [list(vars(group).values()) for group in groups]])
    if todo:
        rows += _compared(dataset, todo, address, workers, on_identity)
    with folder.writing(IDENTITIES) as path:
        write_table(path, sorted(rows, key=lambda row: str(row["clip"])), SCHEMA)
    return read_flags(folder)


def read_flags(folder: Folder) -> pd.DataFrame:
    """`identities.parquet` of a data set; no rows when its identities were never compared."""
    return _stored(folder).to_pandas()


def forget_flags(folder: Folder, gone: Callable[[str], bool]) -> None:
    """Take the clips out for which `gone` says so."""
    table = _stored(folder)
    kept = table.filter(pa.array([not gone(str(clip)) for clip in table["clip"].to_pylist()], pa.bool_()))
    if len(kept) < len(table):
        with folder.writing(IDENTITIES) as path:
            write_table(path, kept, SCHEMA)


def _stored(folder: Folder) -> pa.Table:
    try:
        return read_table(folder.read(IDENTITIES))
    except FileNotFoundError:
        return SCHEMA.empty_table()


def _members(dataset: Dataset) -> dict[str, tuple[list[RowGroup], str]]:
    """The row groups of each identity, and the hash of its clips."""
    groups: dict[str, list[RowGroup]] = defaultdict(list)
    for group in dataset.all_row_groups():
        groups[group.identity].append(group)
    sha256 = dict(dataset.clips()[["clip", "sha256"]].itertuples(index=False, name=None))
    return {
        identity: (
            sorted(parts),
            hashlib.sha256(
                "\n".join(f"{clip} {sha256[clip]}" for clip in sorted({part.clip for part in parts})).encode()
            ).hexdigest()[:16],
        )
        for identity, parts in sorted(groups.items())
    }


class IdentityActor:
    """A Ray Data actor that compares the clips of identities."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.embed = FaceEmbedder()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return as_rows([row for text in batch["item"] for row in compare(self.dataset, self.embed, str(text))])


def compare(dataset: Dataset, embed: FaceEmbedder, packed: str) -> list[dict[str, Any]]:
    """Rows of `SCHEMA` for the clips of one identity, packed as JSON: its name, its hash and its row groups."""
    identity, name, parts = json.loads(packed)
    groups: dict[str, list[RowGroup]] = defaultdict(list)
    for part in parts:
        group = RowGroup(*part)
        groups[group.clip].append(group)
    clips = sorted(groups)
    pairwise = distances(np.stack([embed(*frontal(dataset, groups[clip])) for clip in clips]))
    flagged = mismatched_identities(pairwise)
    return [
        _row(clip, identity, float(np.median(np.delete(pairwise[index], index))), bool(flagged[index]), name)
        for index, clip in enumerate(clips)
    ]


def frontal(dataset: Dataset, groups: list[RowGroup]) -> tuple[np.ndarray, np.ndarray]:
    """Picture and landmarks of the frame of a clip that looks most straight at the camera."""
    best: tuple[float, RowGroup, int] | None = None
    for group in groups:
        pose = dataset.read(group, ["pose_pitch", "pose_yaw"])
        turned = np.maximum(*(np.abs(pose[name].to_numpy()) for name in ("pose_pitch", "pose_yaw")))
        row = int(np.argmin(turned))
        if best is None or turned[row] < best[0]:
            best = float(turned[row]), group, row
    if best is None:
        raise ValueError("a clip without row groups")
    table = dataset.read(best[1], ["image", "landmarks"])
    landmarks = np.array(table["landmarks"][best[2]].as_py(), np.float32).reshape(68, 2)
    return decode_image(table["image"][best[2]].as_py()), landmarks


def _compared(
    dataset: Dataset,
    todo: dict[str, str],
    address: str,
    workers: int | None,
    on_identity: Callable[[int, int], None],
) -> list[dict[str, Any]]:
    FaceEmbedder()  # what is missing is said before Ray starts
    seen: set[str] = set()

    def count(rows: list[dict[str, Any]]) -> None:
        seen.update(row["identity"] for row in rows)
        on_identity(len(seen), len(todo))

    return mapped(IdentityActor, (dataset,), list(todo.values()), address, workers, count)


def _row(clip: str, identity: str, distance: float | None, flagged: bool, members: str) -> dict[str, Any]:
    return {"clip": clip, "identity": identity, "distance": distance, "flagged": flagged, "members": members}
