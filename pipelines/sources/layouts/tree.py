"""A folder: one walk through it finds videos, folders of pictures, VoxCeleb's tracks and first-order-model's table."""

import logging
import os
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from icface.video.pictures import is_frame_file
from pipelines.sources.clip import VIDEO_SUFFIXES, Clip, TrackFile, clip_name, stem_of
from pipelines.sources.fetch import home
from pipelines.sources.layouts.tables import METADATA, Wanted, is_metadata, metadata_clips, read_table
from pipelines.sources.layouts.tree_names import by_name, check_depth, check_unique, named_by_layout
from pipelines.sources.leftovers import Leftovers, escaped, is_companion, is_moving_picture, looks_like_a_video
from pipelines.storage import Folder

TRACKS = "txt"
"""The folder above VoxCeleb's track files."""

LISTERS = 16
"""Folders of a remote source that are listed at the same time."""

log = logging.getLogger(__name__)


def clips(source: Folder, layout: str | None, leftovers: Leftovers) -> list[Clip] | None:
    """The clips in a folder, whatever it mixes: videos, folders of pictures, track files, vox-metadata.csv.

    Raises IcfaceError when a tree without a `layout` is deeper than identity/video/clip.
    """
    if home(source) is not source:
        return None
    found = clips_in(source, METADATA if source.exists(METADATA) else None, leftovers)
    if layout is not None:
        return named_by_layout(found, layout, source.url)
    check_unique(found, source.url)
    check_depth(found, source.url)
    return found


@dataclass
class _Found:
    """What a walk through a folder meets."""

    clips: list[Clip] = field(default_factory=list)
    tracks: list[tuple[str, int]] = field(default_factory=list)
    """Path and size of each track file."""
    pictures: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Of each folder with numbered pictures, their size."""

    def meet(self, path: str, size: int) -> None:
        """Take note of a file."""
        if path.lower().endswith(".txt"):
            if path.count("/") >= 3 and path.split("/")[-4] == TRACKS:
                self.tracks.append((path, size))
        elif not is_frame_file(path):
            self.clips.append(Clip(clip_name(path), path, size))
        elif "/" in path:
            self.pictures[path.rsplit("/", 1)[0]] += size


def clips_in(folder: Folder, metadata: str | None, leftovers: Leftovers, alone: bool = False) -> list[Clip]:
    """The clips under a folder; `metadata` names vox-metadata.csv in it, `alone` leaves out what that does not list."""
    found = _Found()
    for path, size in _files(folder, leftovers):
        found.meet(path, size)
    clips = found.clips
    if found.pictures:
        # A picture beside videos is a cover, not a frame.
        beside = {clip.path.rpartition("/")[0] for clip in clips}
        clips += [Clip(clip_name(p), p, size) for p, size in found.pictures.items() if p not in beside]
    there = {clip.clip for clip in clips} if found.tracks or metadata is not None else set()
    listed, wanted = set(), []
    for name, video, part in _wanted(folder, found.tracks, metadata):
        listed.add(name)
        if name not in there:
            wanted.append((name, video, part))
    clips = _cut(clips, wanted) if wanted else clips
    return [clip for clip in clips if clip.clip in listed] if alone else clips


def _wanted(folder: Folder, tracks: list[tuple[str, int]], metadata: str | None) -> Iterator[Wanted]:
    """What track files and vox-metadata.csv say is to be cut."""
    for path, size in tracks:
        identity, video, file = path.split("/")[-3:]
        yield f"{identity}/{video}/{PurePosixPath(file).stem}", video, TrackFile(path, size)
    if metadata is not None:
        header, rows = read_table(folder, metadata)
        if is_metadata(header):
            yield from metadata_clips(rows, f"{folder.url}/{metadata}")


def _cut(clips: list[Clip], wanted: list[Wanted]) -> list[Clip]:
    """`clips` with full videos replaced by those that are to be cut out of them."""
    stems = {video for _, video, _ in wanted}
    folders = {name.rpartition("/")[0] for name, _, _ in wanted}
    by_stem: defaultdict[str, list[Clip]] = defaultdict(list)
    by_folder: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        if (stem := stem_of(clip.path)) in stems:
            by_stem[stem].append(clip)
        if (above := clip.clip.rpartition("/")[0]) in folders:
            by_folder[above].append(clip)
    span, used, without = [], set(), 0
    for name, video, part in wanted:
        identity = name.split("/")[0]
        candidates = by_stem.get(video, [])
        mine = [clip for clip in candidates if identity in clip.path.split("/")[:-1]]
        # A video under another name counts when it is alone in the folder of its track.
        alone = by_folder.get(f"{identity}/{video}", [])
        full = min(mine or candidates or (alone if len(alone) == 1 else []), key=by_name, default=None)
        if full is None:
            without += 1
        else:
            used.add(full.clip)
            span.append(Clip(name, full.path, full.size, part))
    if without:
        log.warning("%d of %d tracks have no video and are left out", without, len(wanted))
    return [clip for clip in clips if clip.clip not in used] + span


def _files(folder: Folder, leftovers: Leftovers) -> Iterator[tuple[str, int]]:
    """Path relative to `folder` and size of each file that may matter; -1 for a link that leads nowhere."""
    if folder.local:
        yield from _scan(folder.root, "", frozenset(), leftovers)
        return
    for entries in _listings(folder):
        for name, entry in entries.items():
            if _matters(name):
                yield name[len(folder.root) :].lstrip("/"), int(entry["size"])
            elif not is_companion(name):
                leftovers.endings[_ending(name)] += 1


def _listings(folder: Folder) -> Iterator[Mapping[str, Mapping[str, Any]]]:
    """The files of a remote folder by their full names, one subfolder's at a time.

    A whole store's listing takes more memory than all else, and one request after another takes its time.
    """
    folder.fs.invalidate_cache()
    places = [folder.root]
    while len(places) == 1:  # as in dev/mp4
        try:
            entries = folder.fs.ls(places[0], detail=True)
        except FileNotFoundError:
            return
        yield {entry["name"]: entry for entry in entries if entry["type"] == "file"}
        places = [entry["name"].rstrip("/") for entry in entries if entry["type"] == "directory"]
    with ThreadPoolExecutor(LISTERS) as pool:
        asked: deque[Future[Mapping[str, Mapping[str, Any]]]] = deque()
        for place in places:
            asked.append(pool.submit(folder.fs.find, place, detail=True))
            if len(asked) == LISTERS:
                yield asked.popleft().result()
                folder.fs.invalidate_cache()  # some keep what they listed
        while asked:
            yield asked.popleft().result()


def _matters(name: str) -> bool:
    return name.lower().endswith((*VIDEO_SUFFIXES, ".txt")) or is_frame_file(name)


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _scan(folder: str, prefix: str, above: frozenset[str], leftovers: Leftovers) -> Iterator[tuple[str, int]]:
    try:
        real = os.path.realpath(folder)
        entries = list(os.scandir(folder))
    except OSError:
        leftovers.unreadable.append(prefix.rstrip("/") or folder)
        return
    if real in above:
        return  # A link that leads back to a folder around it.
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = prefix + (entry.name if entry.name.isascii() else escaped(entry.name))
        if _matters(entry.name) and entry.is_file():
            yield path, entry.stat().st_size
        elif entry.is_dir():
            yield from _scan(entry.path, f"{path}/", above | {real}, leftovers)
        elif entry.name.lower().endswith(VIDEO_SUFFIXES):
            yield path, -1  # what becomes of it is recorded
        elif is_moving_picture(entry.path):
            leftovers.endings[_ending(path)] += 1
        elif not is_companion(entry.name):
            if looks_like_a_video(entry.path):
                yield path, entry.stat().st_size
            else:
                leftovers.endings[_ending(path)] += 1
