"""A folder of pictures that some program made of the evaluation pairs, so that any method can be scored.

The folder holds the pictures and two files that say what they are; docs/evaluation.md describes them for whoever writes
them. `icface.evaluation.pictures` scores it.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema
from icface.errors import IcfaceError

FACTS, TABLE = "predictions.json", "predictions.csv"
KINDS = ("pair", "neutral", "sweep")
COLUMNS = ("file", "kind", "key")
"""Columns that every table has. Rows of kind `sweep` need `attribute` and `value` too."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What `predictions.json` and `predictions.csv` say; no picture has been read."""

    folder: Path
    dataset_hash: str
    pairs_hash: str
    """Of the pairs that the pictures were made of; see `icface.evaluation.PairList`."""
    per_track: int
    tracks: int | None
    size: int
    """Width and height in which pictures are compared, px; others are resized."""
    schema: AttributeSchema | None
    """The model's attributes; None for a method that has none of its own."""
    pairs: Mapping[str, Path]
    """Key of a pair -> its picture."""
    neutral: Mapping[str, Path]
    """Key of a source -> its neutral face. Empty for a method that makes none."""
    sweeps: Mapping[str, Mapping[str, tuple[tuple[float, Path], ...]]]
    """Attribute -> key of a source -> raw values asked for and their pictures, all else neutral."""

    @classmethod
    def read(cls, folder: str | Path) -> "Predictions":
        """Raises IcfaceError that names the file and the line when the folder is not as described."""
        folder = Path(folder)
        facts = _facts(folder / FACTS)
        pairs: dict[str, Path] = {}
        neutral: dict[str, Path] = {}
        sweeps: dict[str, dict[str, list[tuple[float, Path]]]] = defaultdict(lambda: defaultdict(list))
        for line, row in _rows(folder / TABLE):
            where = f"{folder / TABLE}, line {line}"
            file = _inside(folder, row["file"], where)
            kind, key = row["kind"], row["key"]
            if kind == "sweep":
                name, value = _step(row, where)
                sweeps[name][key].append((value, file))
            elif kind in KINDS:
                known = pairs if kind == "pair" else neutral
                if key in known:
                    raise IcfaceError(f"{where}: there is a picture of kind {kind} for {key} already")
                known[key] = file
            else:
                raise IcfaceError(f"{where}: unknown kind {kind!r}; known are {', '.join(KINDS)}")
        return cls(
            folder=folder,
            pairs=pairs,
            neutral=neutral,
            sweeps={name: {key: tuple(steps) for key, steps in of.items()} for name, of in sweeps.items()},
            **facts,
        )

    def check(self, dataset_hash: str, pairs_hash: str) -> None:
        """Raise IcfaceError when the pictures were made of another data set, or of other pairs of it."""
        if self.dataset_hash != dataset_hash:
            raise IcfaceError(f"{self.folder}: these pictures were made of another data set; name that one")
        if self.pairs_hash != pairs_hash:
            raise IcfaceError(
                f"{self.folder / FACTS}: pairs_hash is not that of {self.per_track} frames a track and "
                f"{self.tracks or 'all'} tracks of this data set; write the list of pairs again"
            )

    def of_pair(self, key: str) -> Path:
        """The picture of a pair. Raises IcfaceError when there is none."""
        if key not in self.pairs:
            raise IcfaceError(f"{self.folder / TABLE}: there is no picture for the pair {key}")
        return self.pairs[key]

    def of_source(self, key: str) -> Path:
        """The neutral face of a source. Raises IcfaceError when there is none."""
        if key not in self.neutral:
            raise IcfaceError(f"{self.folder / TABLE}: there is no neutral face of {key}, and of others there is one")
        return self.neutral[key]


def _facts(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise IcfaceError(f"{path} cannot be read: {why}; a folder of predictions needs it") from None
    try:
        facts: dict[str, Any] = {
            "dataset_hash": str(found["dataset_hash"]),
            "pairs_hash": str(found["pairs_hash"]),
            "per_track": int(found["per_track"]),
            "tracks": None if found.get("tracks") is None else int(found["tracks"]),
            "size": int(found["size"]),
            "schema": AttributeSchema.from_json(found["schema"]) if found.get("schema") else None,
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IcfaceError(f"{path}: {error} is missing or is not what it should be") from None
    if facts["size"] < 1 or facts["per_track"] < 1 or (facts["tracks"] is not None and facts["tracks"] < 1):
        raise IcfaceError(f"{path}: size, per_track and tracks must be at least 1")
    return facts


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Numbers of the lines and what they say; cells that are missing are empty."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise IcfaceError(f"{path}: the first line names no column {missing[0]}")
            return [(reader.line_num, row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise IcfaceError(f"{path} cannot be read: {why}; a folder of predictions needs it") from None


def _inside(folder: Path, name: str, where: str) -> Path:
    relative = PurePosixPath(name)
    if not name or relative.is_absolute() or ".." in relative.parts:
        raise IcfaceError(f"{where}: file must be a path inside of the folder, not {name!r}")
    return folder / relative


def _step(row: Mapping[str, str], where: str) -> tuple[str, float]:
    name, value = row.get("attribute") or "", row.get("value") or ""
    if name not in ATTRIBUTE_NAMES:
        raise IcfaceError(f"{where}: unknown attribute {name!r}; known are {', '.join(ATTRIBUTE_NAMES)}")
    try:
        return name, float(value)
    except ValueError:
        raise IcfaceError(f"{where}: value must be a number, not {value!r}") from None
