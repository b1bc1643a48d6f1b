"""`--check-identities`, across identities: the same pictures, or the same person, under two names.

Such a pair may lie on both sides of the split, where it makes every score too good. `icface dataset split` keeps linked
people on one side. What is kept of a pair is a reason and a number; hashes and embeddings are compared and dropped.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from icface.identity import FaceEmbedder
from icface.images import decode_image
from icface.picture_hash import near_pairs, picture_hash
from icface.spread import evenly
from pipelines.curation.identity_check import frontal
from pipelines.curation.ray_map import as_rows, mapped
from pipelines.dataset import Dataset, RowGroup
from pipelines.format import read_table, write_table
from pipelines.storage import Folder

LINKS = "links.parquet"
SAME_PICTURES, SAME_PERSON = "same pictures", "same person"
HASHED = 32
"""Frames of a clip at most that are compared, evenly spread."""
BITS_APART = 24
"""Of 256, at most, for two frames to be one picture. Frames of one video are as near when they follow each other, and
those of different people are 96 and more apart."""
LEAST_SHARE = 0.25
"""Of a clip's compared frames that the other one must have."""
EMBEDDED = 3
"""Clips of an identity at most whose face is looked at."""
PERSON_DISTANCE = 0.5
"""L2 distance of two identities' median embeddings below which they are taken for one person."""

SCHEMA = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("other_identity", pa.string(), nullable=False),
        # The clips with the same pictures; null where two people look alike.
        pa.field("clip", pa.string()),
        pa.field("other_clip", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        # Share of the compared frames that are the same, or L2 distance of the faces.
        pa.field("value", pa.float32(), nullable=False),
    ]
)
"""One row a pair of identities and, for pictures, of clips; sorted."""
MEMBERS = b"members"
"""Metadata of the file: hash of all clips. They are compared again when they changed."""


def find_links(
    url: str, address: str, workers: int | None, on_clip: Callable[[int, int], None] = lambda done, total: None
) -> pd.DataFrame:
    """Compare the clips of different identities, and write what is found to `links.parquet`; returns that table.

    Clips that are the same as last time are not compared again. The result does not depend on the number of processes.
    `on_clip` is told how many clips are done, and of how many. Raises IcfaceError when dlib or its weights are missing.
    """
    dataset, folder = Dataset.open(url), Folder.at(url)
    sha256 = dataset.clips()[["clip", "sha256"]].itertuples(index=False, name=None)
    members = hashlib.sha256("\n".join(f"{clip} {digest}" for clip, digest in sha256).encode()).hexdigest()[:16]
    stored = _stored(folder)
    if (stored.schema.metadata or {}).get(MEMBERS) == members.encode():
        return stored.to_pandas()
    items = _items(dataset)
    FaceEmbedder()  # what is missing is said before Ray starts
    done = 0

    def count(rows: list[dict[str, Any]]) -> None:
        nonlocal done
        done += len(rows)
        on_clip(done, len(items))

    looks = sorted(mapped(LookActor, (dataset,), items, address, workers, count), key=lambda row: str(row["clip"]))
    rows = [*_same_pictures(looks), *_same_people(looks)]
    rows.sort(key=lambda row: (row["identity"], row["other_identity"], row["clip"] or "", row["other_clip"] or ""))
    with folder.writing(LINKS) as path:
        write_table(path, rows, SCHEMA.with_metadata({MEMBERS: members}))
    return read_links(folder)


def read_links(folder: Folder) -> pd.DataFrame:
    """`links.parquet` of a data set; no rows when nobody compared its identities."""
    return _stored(folder).to_pandas()


def split_apart(dataset: Dataset, links: pd.DataFrame) -> pd.Series:
    """Whether each pair of `identity` and `other_identity` lies on two sides of the split."""
    side = {group.identity: group.split for group in dataset.all_row_groups()}
    return links["identity"].map(side) != links["other_identity"].map(side)


def forget_links(folder: Folder, gone: Callable[[str], bool]) -> None:
    """Take the pairs out that have a clip or an identity for which `gone`, told a clip's name, says so."""
    table = _stored(folder)
    kept = [
        row
        for row in table.to_pylist()
        if not any(gone(row[name]) for name in ("clip", "other_clip") if row[name])
        and not any(gone(f"{row[name]}/") for name in ("identity", "other_identity"))
    ]
    if len(kept) < len(table):
        with folder.writing(LINKS) as path:
            write_table(path, kept, table.schema)


def groups_of(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The first name of the group that each linked name belongs to: links of links are links.

    >>> groups_of([("bob", "cyd"), ("ann", "bob"), ("eve", "fay")])
    {'bob': 'ann', 'cyd': 'ann', 'ann': 'ann', 'eve': 'eve', 'fay': 'eve'}
    """
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while (above := leader.setdefault(name, name)) != name:
            name = above
        return name

    for one, other in pairs:
        first, second = sorted((find(one), find(other)))
        leader[second] = first
    return {name: find(name) for name in leader}


class LookActor:
    """A Ray Data actor that hashes frames of clips, and embeds a face of some."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.embed = FaceEmbedder()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return as_rows([self._look(*json.loads(str(text))) for text in batch["item"]])

    def _look(self, clip: str, identity: str, parts: list[list[Any]], with_face: bool) -> dict[str, Any]:
        groups = [RowGroup(*part) for part in parts]
        chosen = set(evenly(range(sum(group.rows for group in groups)), HASHED))
        hashes, first = [], 0
        for group in groups:
            rows = [row for row in range(group.rows) if first + row in chosen]
            if rows:
                images = self.dataset.read(group, ["image"])["image"].take(rows).to_pylist()
                hashes += [picture_hash(decode_image(image)).tobytes().hex() for image in images]
            first += group.rows
        face = self.embed(*frontal(self.dataset, groups)).tolist() if with_face else None
        return {"clip": clip, "identity": identity, "hashes": hashes, "face": face}


def _items(dataset: Dataset) -> list[str]:
    """Each clip with its row groups, and whether its face is looked at."""
    clips: dict[str, list[RowGroup]] = defaultdict(list)
    people: dict[str, list[str]] = defaultdict(list)
    for group in sorted(dataset.all_row_groups(), key=lambda group: (group.clip, group.track, group.ordinal)):
        if group.clip not in clips:
            people[group.identity].append(group.clip)
        clips[group.clip].append(group)
    faces = {clip for theirs in people.values() for clip in evenly(theirs, EMBEDDED)}
    return [
        json.dumps([clip, groups[0].identity, [astuple(group) for group in groups], clip in faces])
        for clip, groups in clips.items()
    ]


def _same_pictures(looks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pairs of clips of different identities that share pictures."""
    if not looks:
        return []
    texts = [(number, text) for number, look in enumerate(looks) for text in look["hashes"]]
    owner = np.array([number for number, _ in texts])
    hashes = np.frombuffer(bytes.fromhex("".join(text for _, text in texts)), np.uint8).reshape(len(texts), -1)
    names = {name: place for place, name in enumerate(sorted({look["identity"] for look in looks}))}
    people = np.array([names[looks[number]["identity"]] for number, _ in texts])
    shared: dict[tuple[int, int], tuple[set[int], set[int]]] = defaultdict(lambda: (set(), set()))
    for one, other in near_pairs(hashes, people, BITS_APART).tolist():
        mine, theirs = shared[int(owner[one]), int(owner[other])]
        mine.add(one)
        theirs.add(other)
    rows = []
    for (one, other), (mine, theirs) in shared.items():
        counts = [len(looks[number]["hashes"]) for number in (one, other)]
        # The shorter clip may be a part of the longer one.
        share = max(len(mine) / counts[0], len(theirs) / counts[1])
        if share >= LEAST_SHARE:
            rows.append(_row(looks[one], looks[other], SAME_PICTURES, share))
    return rows


def _same_people(looks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pairs of identities whose faces are nearer than different people's."""
    faces: dict[str, list[list[float]]] = defaultdict(list)
    for look in looks:
        if look["face"] is not None:
            faces[look["identity"]].append(look["face"])
    names = sorted(faces)
    # The median: one clip of three may lie in the wrong folder.
    middles = np.stack([np.median(faces[name], axis=0) for name in names]) if names else np.empty((0, 1))
    rows = []
    for place, name in enumerate(names):
        apart = np.linalg.norm(middles[place + 1 :] - middles[place], axis=1)
        for offset in np.flatnonzero(apart < PERSON_DISTANCE).tolist():
            other = {"identity": names[place + 1 + offset], "clip": None}
            rows.append(_row({"identity": name, "clip": None}, other, SAME_PERSON, float(apart[offset])))
    return rows


def _row(one: Mapping[str, Any], other: Mapping[str, Any], reason: str, value: float) -> dict[str, Any]:
    first, second = sorted((one, other), key=lambda look: str(look["identity"]))
    return {
        "identity": first["identity"],
        "other_identity": second["identity"],
        "clip": first["clip"],
        "other_clip": second["clip"],
        "reason": reason,
        "value": value,
    }


def _stored(folder: Folder) -> pa.Table:
    try:
        return read_table(folder.read(LINKS))
    except FileNotFoundError:
        return SCHEMA.empty_table()
