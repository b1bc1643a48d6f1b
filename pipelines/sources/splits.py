"""Who is on which side of the split."""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping

from icface.errors import IcfaceError
from pipelines.sources.clip import Clip, TrackFile
from pipelines.sources.fetch import TABLE_SUFFIX, home
from pipelines.sources.layouts.tables import METADATA, is_metadata, read_table
from pipelines.storage import Folder

META_FILES = ("vox1_meta.csv", "vox2_meta.csv")


def official_test(source: Folder, clips: Iterable[Clip]) -> frozenset[str]:
    """Identities of the official test set.

    Those under `test/`, those that vox1_meta.csv or vox2_meta.csv beside the clips name, and those of the partition
    `test` of first-order-model's vox-metadata.csv.
    """
    folder = home(source)
    found = {clip.identity for clip in clips if _under_test(clip)}
    for name in META_FILES:
        if folder.exists(name):
            found |= _test_in_meta(folder.read(name).decode("utf-8", "replace"), f"{folder.url}/{name}")
    # SOURCE may be such a table itself, under any name.
    for name in {METADATA, source.root.rsplit("/", 1)[-1]} if folder is not source else {METADATA}:
        if not name.lower().endswith(TABLE_SUFFIX) or not folder.exists(name):
            continue
        header, rows = read_table(folder, name)
        if is_metadata(header) and {"partition", "person_id"} <= set(header):
            found |= {row["person_id"] for row in rows if row["partition"].lower() == "test"}
    return frozenset(found)


def _under_test(clip: Clip) -> bool:
    track = clip.span.path if isinstance(clip.span, TrackFile) else ""
    return clip.path.startswith("test/") or track.startswith("test/")


def assign_splits(
    identities: Iterable[str],
    val_fraction: float,
    seed: int,
    test: frozenset[str] = frozenset(),
    groups: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """`train`, `val` or `test` of each identity, by a stable hash of identity and seed.

    Above a `val_fraction` of 0 and with two identities outside `test` at least one is `val` and one is `train`. At 1
    all outside `test` are `val`. Identities with the same value in `groups` are on one side: that of its name. Those
    that share it with one of `test` are `val`, so that no model is trained on them.

    >>> assign_splits(["ann", "bob"], val_fraction=0.1, seed=0)
    {'ann': 'val', 'bob': 'train'}
    >>> assign_splits(["ann", "bob", "cyd"], val_fraction=0.1, seed=0, groups={"ann": "bob", "bob": "bob"})
    {'ann': 'val', 'bob': 'val', 'cyd': 'train'}
    """
    if groups:
        return _assign_groups(sorted(set(identities)), val_fraction, seed, test, groups)
    known = sorted(set(identities))
    splits = {identity: "test" if identity in test else "train" for identity in known}
    places = {identity: _place(identity, seed) for identity in known if identity not in test}
    if val_fraction == 1:
        return splits | dict.fromkeys(places, "val")
    if val_fraction > 0 and len(places) >= 2:
        ranked = sorted(places, key=lambda identity: (places[identity], identity))
        chosen = [identity for identity in ranked if places[identity] < val_fraction]
        for identity in chosen[: len(ranked) - 1] or ranked[:1]:
            splits[identity] = "val"
    return splits


def _assign_groups(
    known: list[str], val_fraction: float, seed: int, test: frozenset[str], groups: Mapping[str, str]
) -> dict[str, str]:
    leader = {identity: groups.get(identity, identity) for identity in known}
    beside_test = {leader[identity] for identity in known if identity in test}
    free = {leader[identity] for identity in known} - beside_test
    sides = assign_splits(free, val_fraction, seed)
    return {identity: "test" if identity in test else sides.get(leader[identity], "val") for identity in known}


def stated_splits(clips: Iterable[Clip]) -> dict[str, str]:
    """The split of each identity whose clips say one. Raises IcfaceError when they say two."""
    stated: dict[str, str] = {}
    for clip in clips:
        if clip.split and stated.setdefault(clip.identity, clip.split) != clip.split:
            raise IcfaceError(
                f"{clip.identity} is in the splits {stated[clip.identity]} and {clip.split}: a person belongs to one"
            )
    return stated


def _place(identity: str, seed: int) -> float:
    """Where an identity lies in 0..1."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{identity}".encode()).digest()[:8]) / 2**64


def _test_in_meta(text: str, name: str) -> set[str]:
    """Identities whose set is `test`; vox1_meta.csv is separated by tabs, vox2_meta.csv by commas."""
    delimiter = "\t" if "\t" in text.split("\n", 1)[0] else ","
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter)]
    header = rows[0] if rows else []
    try:
        column = next(i for i, title in enumerate(header) if title.lower() == "set")
        who = next(i for i, title in enumerate(header) if title.lower().startswith("voxceleb"))
    except StopIteration:
        raise IcfaceError(f"{name} has no columns `VoxCeleb ID` and `Set`; mend or remove it") from None
    return {row[who] for row in rows[1:] if len(row) > max(column, who) and row[column].lower() == "test"}
