"""TalkingHead-1KH: lists of spans and boxes, beside the one-minute pieces of videos that its scripts make.

`data_list/LIST_video_tubes.txt` has a row a clip: the piece's name, height and width of the frames that the box is
pixels of, first and last frame, left, top, right and bottom. The pieces lie in `LIST/1min_clips`, and what the scripts
cut out of them in `LIST/cropped_clips` (https://github.com/tcwang0509/TalkingHead-1KH; videos CC BY 3.0, lists MIT).
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass

from icface.errors import IcfaceError
from pipelines.sources.clip import OWN_RATE, BoxSpan, Clip
from pipelines.sources.fetch import home
from pipelines.sources.leftovers import Leftovers
from pipelines.storage import Folder

LISTS = "data_list"
ENDING = "_video_tubes.txt"
PIECES, CUT = "1min_clips", "cropped_clips"
SPLITS = {"train": "train", "val": "val"}
"""Which side of the split the people of a list are on; another list, as `small`, says nothing."""
_PIECE = re.compile(r"(?P<video>.+)_\d{4}")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tube:
    """A row of a list."""

    piece: str
    """Name of the piece of a video, without its ending."""
    height: int
    width: int
    first: int
    last: int
    """The last frame itself belongs to it."""
    left: int
    top: int
    right: int
    bottom: int

    @property
    def cut(self) -> str:
        """What the scripts call the file that they cut out."""
        return f"{self.piece}_{self._place}"

    @property
    def clip(self) -> str:
        """Its name. Nobody says who it shows: all that comes of one video is taken for one person's.

        >>> Tube("--Y9imYnfBw_0000", 1080, 1920, 0, 271, 504, 63, 792, 351).clip
        '--Y9imYnfBw/0000/S0_E271_L504_T63_R792_B351'
        """
        found = _PIECE.fullmatch(self.piece)
        video = found["video"] if found else self.piece
        return f"{video}/{self.piece.removeprefix(video).lstrip('_') or self.piece}/{self._place}"

    @property
    def span(self) -> BoxSpan:
        """Its frames and box within the piece."""
        return BoxSpan(
            start=self.first,
            end=self.last + 1,
            left=self.left,
            top=self.top,
            right=self.right,
            bottom=self.bottom,
            rate=OWN_RATE,
            width=self.width,
            height=self.height,
        )

    @property
    def _place(self) -> str:
        return f"S{self.first}_E{self.last}_L{self.left}_T{self.top}_R{self.right}_B{self.bottom}"


def clips(source: Folder, layout: str | None, leftovers: Leftovers) -> list[Clip] | None:
    """The clips that the lists name and that are there: cut already, or as a span of their piece.

    Raises IcfaceError for a row that makes no sense.
    """
    if layout is not None or home(source) is not source or not source.exists(LISTS):
        return None
    lists = source.names(LISTS, ENDING)
    if not lists:
        return None
    found: dict[str, Clip] = {}
    names = [name.removesuffix(ENDING) for name in lists]
    # With one list alone, who is drawn for `val` is as everywhere.
    splits = SPLITS if set(SPLITS) <= set(names) else {}
    without = 0
    for name in names:
        pieces, cut = (_files(source, f"{name}/{folder}") for folder in (PIECES, CUT))
        if not pieces and not cut:
            continue  # a list that nobody has fetched
        for tube in _tubes(source, f"{LISTS}/{name}{ENDING}"):
            split = splits.get(name, "")
            if (size := cut.get(f"{tube.cut}.mp4")) is not None:
                made = Clip(tube.clip, f"{name}/{CUT}/{tube.cut}.mp4", size, split=split)
            elif (size := pieces.get(f"{tube.piece}.mp4")) is not None:
                made = Clip(tube.clip, f"{name}/{PIECES}/{tube.piece}.mp4", size, tube.span, split)
            else:
                without += 1
                continue
            # `small` is a part of `train`: the list that says a split counts.
            if tube.clip not in found or (split and not found[tube.clip].split):
                found[tube.clip] = made
    if without:
        log.warning("%d of the clips in %s/%s have no video and are left out", without, source.url, LISTS)
    return list(found.values())


def _files(source: Folder, folder: str) -> dict[str, int]:
    """Size of each file in a folder by its name; none where there is no folder."""
    try:
        entries = source.fs.ls(source.path(folder), detail=True)
    except FileNotFoundError:
        return {}
    return {entry["name"].rsplit("/", 1)[-1]: int(entry.get("size") or 0) for entry in entries}


def _tubes(source: Folder, name: str) -> Iterator[Tube]:
    """The rows of a list. Raises IcfaceError for one that makes no sense."""
    for number, line in enumerate(source.read(name).decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        piece, *cells = (cell.strip() for cell in line.split(","))
        try:
            values = [int(cell) for cell in cells]
            if len(values) != 8 or "/" in piece or not piece:
                raise ValueError("a row has a name and eight whole numbers")
            tube = Tube(piece, *values)
            if not (0 <= tube.first <= tube.last and tube.left < tube.right and tube.top < tube.bottom):
                raise ValueError("frames and box must ascend")
            if tube.height < 1 or tube.width < 1:
                raise ValueError("height and width must be positive")
        except ValueError as error:
            raise IcfaceError(f"{source.url}/{name}, line {number} makes no sense: {error}") from None
        yield tube
