"""Sources that are tables: paths and identities, or first-order-model's spans of VoxCeleb1's videos."""

import csv
import io
import os
from collections.abc import Iterable, Iterator

from icface.errors import IcfaceError
from pipelines.sources.clip import SPLITS, BoxSpan, Clip, Span, normalized, span_name, stem_of
from pipelines.sources.fetch import located
from pipelines.storage import Folder

METADATA = "vox-metadata.csv"
_METADATA_COLUMNS = frozenset(("video_id", "start", "end", "bbox", "fps", "width", "height"))
_PATH_COLUMNS = frozenset(("path", "identity"))
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""How files begin that Excel saves as Unicode text."""
_SPLIT_WORDS = {"training": "train", "dev": "train", "validation": "val", "valid": "val", "testing": "test"}

Row = dict[str, str]
Wanted = tuple[str, str, Span]
"""A clip that is to be cut out of a full video: its name, the video's stem, and `Clip.span`."""


def read_table(folder: Folder, name: str) -> tuple[list[str], list[Row]]:
    """Header and rows of a csv file, without white space around the cells; the header's letters are small.

    Cells are separated by commas, tabs or semicolons, whichever the first line has most of.

    Raises IcfaceError that names the first line with more or fewer cells than the heading.
    """
    data = folder.read(name)
    text = data.decode("utf-16" if data.startswith(UTF_16) else "utf-8-sig", "replace")
    delimiter = max(",\t;", key=text.split("\n", 1)[0].count)
    lines = ([cell.strip() for cell in line] for line in csv.reader(io.StringIO(text), delimiter=delimiter))
    header = [title.lower() for title in next(lines, [])]
    rows = []
    for number, line in enumerate(lines, start=2):
        if not any(line):
            continue
        # Spreadsheets leave empty cells at the end.
        if len(line) < len(header) or any(line[len(header) :]):
            raise IcfaceError(f"{folder.url}/{name}, line {number}: {len(line)} cells, the heading has {len(header)}")
        rows.append(dict(zip(header, line, strict=False)))
    return header, rows


def is_metadata(header: Iterable[str]) -> bool:
    """Whether a table with these columns is first-order-model's."""
    return set(header) >= _METADATA_COLUMNS


def metadata_clips(rows: list[Row], name: str) -> Iterator[Wanted]:
    """The clips of vox-metadata.csv. Raises IcfaceError for a row that makes no sense, calling the file `name`."""
    for number, row in enumerate(rows, start=2):
        # A video_id may have a second part, which the file's name does not.
        video = row["video_id"].split("#")[0]
        try:
            start, end = int(float(row["start"])), int(float(row["end"]))
            box = [float(edge) for edge in row["bbox"].split("-")]
            rate, width, height = float(row["fps"]), float(row["width"]), float(row["height"])
            if len(box) != 4 or box[0] >= box[2] or box[1] >= box[3]:
                raise ValueError("a box is left-top-right-bottom")
            if not 0 <= start < end or rate <= 0 or width <= 0 or height <= 0:
                raise ValueError("start, end, fps, width and height must be positive, start before end")
        except ValueError as error:
            raise IcfaceError(f"{name}, line {number} makes no sense: {error}") from None
        clip = span_name(row.get("person_id"), video, start, end)
        left, top, right, bottom = box
        yield clip, video, BoxSpan(start, end, left, top, right, bottom, rate, width, height)


def listed_clips(folder: Folder, header: list[str], rows: list[Row], name: str) -> list[Clip]:
    """The clips of a table of paths and identities; a column `video` names the recording, else the path's folder does.
    A column `split` says on which side of the split the person is.

    Paths are relative to the table's folder, absolute, or URLs. A file that is not there is a clip all the same (of
    size -1): what becomes of it is recorded. Raises IcfaceError for a table without these columns or with empty cells.
    """
    if not set(header) >= _PATH_COLUMNS:
        raise IcfaceError(
            f"{name} has the columns {', '.join(header) or 'of an empty file'}; a table of clips has `path` and "
            f"`identity`, first-order-model's has {', '.join(sorted(_METADATA_COLUMNS))}"
        )
    sizes = _Sizes(folder)
    clips = []
    owners: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        path, identity = row["path"], row["identity"]
        if not path or not identity or "/" in identity:
            raise IcfaceError(f"{name}, line {number}: path {path!r} and identity {identity!r} must both be there")
        identity = normalized(identity)
        if (other := owners.setdefault(path, identity)) != identity:
            raise IcfaceError(
                f"{name}, line {number}: {path} is of {identity}, and above of {other}: one of them is wrong"
            )
        stem = stem_of(path)
        above = path.rstrip("/").split("/")[:-1]
        video = row.get("video") or (above[-1] if above else stem)
        split = _split(row.get("split", ""), f"{name}, line {number}")
        clips.append(Clip(f"{identity}/{video.replace('/', '-')}/{stem}", path, sizes.of(path), split=split))
    return clips


def _split(text: str, place: str) -> str:
    """`train`, `val`, `test` or nothing of a cell of the column `split`."""
    split = _SPLIT_WORDS.get(text.lower(), text.lower())
    if split and split not in SPLITS:
        raise IcfaceError(f"{place}: split {text!r} is unknown; it is train, val or test, or empty")
    return split


class _Sizes:
    """Sizes of files, by one listing a folder where files are remote."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.listings: dict[str, dict[str, int]] = {}

    def of(self, path: str) -> int:
        """Bytes of a file or of the files in a folder; -1 where there is none."""
        folder, name = located(self.folder, path)
        try:
            place = folder.path(name)
        except ValueError:
            raise IcfaceError(f"the path {path} leaves {self.folder.url}; give it in full") from None
        if folder.local:
            try:
                if os.path.isdir(place):  # noqa: PTH112 - a million of these
                    return sum(entry.stat().st_size for entry in os.scandir(place))
                return os.stat(place).st_size  # noqa: PTH116
            except OSError:
                return -1
        above, _, last = place.rpartition("/")
        if above not in self.listings:
            try:
                entries = folder.fs.ls(above, detail=True)
            except OSError:
                entries = []
            self.listings[above] = {
                entry["name"].rstrip("/").rsplit("/", 1)[-1]: int(entry.get("size") or 0) for entry in entries
            }
        return self.listings[above].get(last, -1)
