"""A clip, and how its name comes from its path."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SPLITS = ("train", "val", "test")
"""The sides of a data set: to learn from, to choose by, and the official test set."""
_ENDINGS = """
    mp4 m4v mov qt avi divx mkv webm wmv asf mpg mpeg m1v m2v vob ts m2ts mts flv f4v 3gp 3g2 ogv ogm mxf rm rmvb
    h264 264 h265 hevc ivf y4m dv mjpeg mjpg nut
"""
VIDEO_SUFFIXES = tuple(f".{ending}" for ending in _ENDINGS.split())
"""Endings of files that are clips; a local file without a known one is too, when its first bytes say so."""
OWN_RATE = 0.0
"""Frames a second of a span that counts in the frames of its own file."""
_FIRST_ORDER_NAME = re.compile(r"(?:(?P<identity>[^#]+)#)?(?P<video>[^#]+)#(?P<start>\d+)#(?P<end>\d+)")
"""`id10283#zBqQEBk0mAU#001532#001715`, as first-order-model's scripts name what they cut."""


@dataclass(frozen=True, slots=True)
class TrackFile:
    """The frames of a full video that one of VoxCeleb's track files names, around its face."""

    path: str
    """Of the track file, relative to the source."""
    size: int
    """Bytes: another file, other clips."""


@dataclass(frozen=True, slots=True)
class BoxSpan:
    """The frames `start` up to `end` of a full video, around one box."""

    start: int
    end: int
    left: float
    top: float
    right: float
    bottom: float
    rate: float
    """Frames a second that `start` and `end` count in, or `OWN_RATE`."""
    width: float
    """Of the frame that the box is pixels of."""
    height: float


Span = TrackFile | BoxSpan


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that was found; it need not be readable."""

    clip: str
    """identity/video/clip stem: its name, unique in a data set."""
    path: str
    """Of the file or the folder of pictures, relative to the source; an absolute path or a URL from a csv."""
    size: int
    """Bytes; -1 where a csv names a file that is not there."""
    span: Span | None = None
    """Which part of a full video it is, for `pipelines.sources.read_span`; None: all of it."""
    split: str = ""
    """`train`, `val` or `test` where a csv says so."""

    def to_json(self) -> dict[str, Any]:
        """A plain dict that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Clip":
        """The clip that `to_json` wrote."""
        entry = values["span"]
        span = None if entry is None else TrackFile(**entry) if "path" in entry else BoxSpan(**entry)
        return cls(**{**values, "span": span})

    @property
    def identity(self) -> str:
        """The person: the first part of the name."""
        return self.clip.partition("/")[0]

    @property
    def video(self) -> str:
        """The recording: the second part of the name."""
        return self.clip.split("/")[1]


def clip_name(path: str) -> str:
    """The name of the clip in the file, or the folder of pictures, `path`.

    >>> clip_name("dev/mp4/id00012/21Uxsk56VDQ/00001.mp4")
    'id00012/21Uxsk56VDQ/00001'
    >>> clip_name("train/id10283#zBqQEBk0mAU#001532#001715.mp4")
    'id10283/zBqQEBk0mAU/001532-001715'
    """
    path = normalized(path)
    stem = stem_of(path)
    if "#" in stem and (found := _FIRST_ORDER_NAME.fullmatch(stem)):
        return span_name(found["identity"], found["video"], int(found["start"]), int(found["end"]))
    folders = path.split("/")[:-1]
    if len(folders) >= 2:
        return f"{folders[-2]}/{folders[-1]}/{stem}"
    identity = folders[0] if folders else stem
    return f"{identity}/{stem}/{stem}"


def normalized(name: str) -> str:
    """A name whose accents are written as one letter each: macOS writes two, and `Jos\u00e9` is one person everywhere.

    >>> len(normalized("Jose\u0301"))
    4
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def span_name(identity: str | None, video: str, start: int, end: int) -> str:
    """The name of a span of frames of a video; a video of which nobody says who it shows is a person of its own."""
    return f"{identity or video}/{video}/{start:06d}-{end:06d}"


def stem_of(path: str) -> str:
    """The last part of a path without a video's ending; folders of pictures may have one too.

    >>> stem_of("a/b.mp4"), stem_of("a/v1.5")
    ('b', 'v1.5')
    """
    name = path.rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[0] if name.lower().endswith(VIDEO_SUFFIXES) else name
