"""Finding clips, and deciding who is on which side of the split."""

import csv
import hashlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from icface.errors import IcfaceError
from pipelines.storage import Folder

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg")
META_FILES = ("vox1_meta.csv", "vox2_meta.csv")


@dataclass(frozen=True, slots=True, order=True)
class Clip:
    """A clip that was found; it need not be readable."""

    clip: str
    """identity/video/clip stem: its name, unique in a data set."""
    path: str
    """Relative to the source."""
    size: int
    """Bytes of the file."""

    @property
    def identity(self) -> str:
        return self.clip.split("/")[0]

    @property
    def video(self) -> str:
        return self.clip.split("/")[1]


def list_clips(source: Folder) -> list[Clip]:
    """The clips under `source`, sorted by name.

    The two folders above a clip are its identity and its video (VoxCeleb's layout, with or without `dev/mp4/` in
    front). A clip in a single folder has that as identity; a clip in no folder is a person of its own. `source` may
    be a single clip. Raises IcfaceError when nothing is found or two files make the same name.
    """
    clips = sorted(Clip(_name(path), path, size) for path, size in _files(source))
    if not clips:
        if not source.exists(""):
            raise IcfaceError(f"{source.url} does not exist; SOURCE is a folder of clips: identity/video/clip.mp4")
        raise IcfaceError(f"{source.url} holds no clips ({', '.join(VIDEO_SUFFIXES)})")
    for one, other in pairwise(clips):
        if one.clip == other.clip:
            raise IcfaceError(f"{source.url}: {one.path} and {other.path} are both clip {one.clip}; rename one")
    return clips


@contextmanager
def local_clip(source: Folder, clip: Clip) -> Iterator[Path]:
    """The clip as a local file, for as long as the block lasts. Raises OSError when it cannot be fetched."""
    if source.local:
        root = Path(source.root)
        yield root if root.is_file() else root / clip.path
        return
    with tempfile.TemporaryDirectory(prefix="icface-") as folder:
        path = Path(folder) / Path(clip.path).name
        single = source.fs.isfile(source.root)
        source.fs.get_file(source.root if single else source.path(clip.path), str(path))
        yield path


def official_test(source: Folder, clips: Iterable[Clip]) -> frozenset[str]:
    """Identities of the official test set: those under `test/`, and those that vox1_meta.csv or vox2_meta.csv name."""
    found = {clip.identity for clip in clips if clip.path.startswith("test/")}
    for name in META_FILES:
        if source.exists(name):
            found |= _test_in_meta(source.read(name).decode("utf-8", "replace"), f"{source.url}/{name}")
    return frozenset(found)


def assign_splits(
    identities: Iterable[str], val_fraction: float, seed: int, test: frozenset[str] = frozenset()
) -> dict[str, str]:
    """`train`, `val` or `test` of each identity, by a stable hash of identity and seed.

    Above a `val_fraction` of 0 and with two identities outside `test` at least one is `val` and one is `train`.

    >>> assign_splits(["ann", "bob"], val_fraction=0.1, seed=0)
    {'ann': 'val', 'bob': 'train'}
    """
    known = sorted(set(identities))
    splits = {identity: "test" if identity in test else "train" for identity in known}
    places = {identity: _place(identity, seed) for identity in known if identity not in test}
    if val_fraction > 0 and len(places) >= 2:
        ranked = sorted(places, key=lambda identity: (places[identity], identity))
        chosen = [identity for identity in ranked if places[identity] < val_fraction]
        for identity in chosen[: len(ranked) - 1] or ranked[:1]:
            splits[identity] = "val"
    return splits


def group_clips(clips: list[Clip], target: int) -> list[list[Clip]]:
    """Cut sorted clips into groups of about `target`, at most twice as many.

    A group ends where the hash of a clip's name says so: added clips change the groups that they fall into, and
    no others.
    """
    groups: list[list[Clip]] = []
    current: list[Clip] = []
    for clip in clips:
        current.append(clip)
        ends = int.from_bytes(_digest(clip.clip)[:8]) % target == 0
        if ends or len(current) >= 2 * target:
            groups.append(current)
            current = []
    if current:
        groups.append(current)
    return groups


def shard_name(split: str, clips: Iterable[Clip]) -> str:
    """Name of the shard that holds exactly these clips: another file, size or split gives another name."""
    digest = hashlib.sha256(split.encode())
    for clip in clips:
        digest.update(f"\0{clip.clip}\0{clip.path}\0{clip.size}".encode())
    return digest.hexdigest()[:20]


def _place(identity: str, seed: int) -> float:
    """Where an identity lies in 0..1."""
    return int.from_bytes(_digest(f"{seed}\0{identity}")[:8]) / 2**64


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _name(path: str) -> str:
    parts = PurePosixPath(path)
    folders = parts.parts[:-1]
    if len(folders) >= 2:
        return f"{folders[-2]}/{folders[-1]}/{parts.stem}"
    identity = folders[0] if folders else parts.stem
    return f"{identity}/{parts.stem}/{parts.stem}"


def _files(source: Folder) -> Iterator[tuple[str, int]]:
    """Path relative to `source` and size of each video file."""
    if not source.local:
        entries: Mapping[str, Mapping] = source.fs.find(source.root, detail=True)
        for name, entry in entries.items():
            if name.lower().endswith(VIDEO_SUFFIXES):
                yield name[len(source.root) :].lstrip("/") or PurePosixPath(name).name, int(entry["size"])
        return
    root = Path(source.root)
    if root.is_file():
        yield root.name, root.stat().st_size
        return
    yield from _scan(source.root, "", frozenset())


def _scan(folder: str, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, int]]:
    try:
        real = os.path.realpath(folder)
        entries = list(os.scandir(folder))
    except OSError:
        return
    if real in above:
        return  # A link that leads back to a folder around it.
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.name.lower().endswith(VIDEO_SUFFIXES) and entry.is_file():
            yield prefix + entry.name, entry.stat().st_size
        elif entry.is_dir():
            yield from _scan(entry.path, f"{prefix}{entry.name}/", above | {real})


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
