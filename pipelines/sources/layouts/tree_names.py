"""`--layout`: which folders above a clip are its identity and its recording, in trees of any depth."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

from icface.errors import IcfaceError
from pipelines.sources.clip import Clip, clip_name, normalized, stem_of

KNOWN_ROOTS = frozenset({"dev", "test", "train", "val", "valid", "mp4", "video", "videos", "clips"})
"""Folders at the top of a tree that only sort it: VoxCeleb's, and splits."""
ANY_FOLDERS = "..."
"""Part of a layout that stands for any number of folders."""
_PART = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class TreeLayout:
    """Folders from the source down to a clip, as in `{identity}/video/{view}/...`.

    `{identity}` and `{video}` name the person and the recording. Other words in braces stand for one folder each, and
    so does `*`. Words without braces stand for a folder of that name, and `...` for any number of folders. What is
    neither identity nor recording becomes part of the recording's name, or of the clip's where `{video}` is given.
    Raises IcfaceError for a layout that makes no sense.
    """

    text: str

    def __post_init__(self) -> None:
        parts = self.text.strip("/").split("/")
        names = [match[1] for part in parts if (match := _PART.fullmatch(part))]
        if names.count("identity") != 1:
            raise IcfaceError(f"layout {self.text!r} must have {{identity}} once, as in '{{identity}}/{{video}}'")
        if len(set(names)) < len(names):
            raise IcfaceError(f"layout {self.text!r} names a folder twice")
        for part in parts:
            if not part or (("{" in part or "}" in part) and not _PART.fullmatch(part)):
                raise IcfaceError(f"layout {self.text!r}: {part!r} must be a folder's name, {{name}}, * or ...")

    def clip_name(self, path: str) -> str | None:
        """identity/video/stem of the clip `path`; None where the path does not fit.

        >>> TreeLayout("{identity}/video/{view}/...").clip_name("M003/video/front/angry/level_1/001.mp4")
        'M003/front-angry-level_1/001'
        """
        path = normalized(path)
        found = self._pattern.fullmatch(path.rpartition("/")[0] + "/")
        if found is None:
            return None
        values = {name: value.strip("/").replace("/", "-") for name, value in found.groupdict().items() if value}
        identity, video = values.pop("identity"), values.pop("video", "")
        rest = "-".join(value for value in values.values() if value)
        stem = stem_of(path)
        if video:
            return f"{identity}/{video}/{rest}-{stem}" if rest else f"{identity}/{video}/{stem}"
        return f"{identity}/{rest or stem}/{stem}"

    @property
    def _pattern(self) -> re.Pattern[str]:
        pieces = []
        for number, part in enumerate(self.text.strip("/").split("/")):
            if part == ANY_FOLDERS:
                pieces.append(f"(?P<any{number}>(?:[^/]+/)*)")
            elif part == "*":
                pieces.append(f"(?P<one{number}>[^/]+/)")
            elif match := _PART.fullmatch(part):
                pieces.append(f"(?P<{match[1]}>[^/]+)/")
            else:
                pieces.append(re.escape(part) + "/")
        return re.compile("".join(pieces))


def named_by_layout(clips: Iterable[Clip], layout: str, source: str) -> list[Clip]:
    """The clips under the names that a layout gives them. Raises IcfaceError naming the first that does not fit."""
    known = TreeLayout(layout)
    named = []
    for clip in clips:
        name = known.clip_name(clip.path)
        if name is None:
            raise IcfaceError(f"{source}: {clip.path} does not fit --layout '{layout}'")
        named.append(Clip(name, clip.path, clip.size, clip.span))
    return named


def check_depth(clips: Iterable[Clip], source: str) -> None:
    """Refuse a tree in which the folder two above a clip need not be its identity.

    Raises IcfaceError for clips that lie deeper than identity/video, below folders that only sort them.
    """
    for clip in clips:
        folders = clip.path.split("/")[:-1]
        while folders and folders[0].lower() in KNOWN_ROOTS:
            folders = folders[1:]
        if len(folders) > 2 and not clip.span and clip.clip == clip_name(clip.path) and "#" not in clip.path:
            braces = "/".join(f"{{level{number}}}" for number in range(1, len(folders) - 1))
            raise IcfaceError(
                f"{source}: {clip.path} lies deeper than identity/video/clip, and which folder is the person cannot be "
                f"told: `{folders[-2]}`? Say it, as in --layout '{{identity}}/{braces}/...', or name the folder above "
                "the identities as SOURCE"
            )


def by_name(clip: Clip) -> tuple[str, str]:
    """The order of clips."""
    return clip.clip, clip.path


def check_unique(clips: Iterable[Clip], url: str) -> None:
    """Raise IcfaceError when two files of the source `url` make the same name."""
    # Names alone: a key of two strings for each of ten million clips takes a gigabyte.
    for one, other in pairwise(sorted(clips, key=attrgetter("clip"))):
        if one.clip == other.clip:
            first, second = sorted((one.path, other.path))
            if first == second:
                raise IcfaceError(f"{url}: {first} is listed twice; take one out")
            raise IcfaceError(f"{url}: {first} and {second} are both clip {one.clip}; rename one")
