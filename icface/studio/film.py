"""The video tab: drivers that are measured in the background, the curves that a film follows, and the film itself."""

import logging
import math
import re
import shlex
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icface.animate import Source
from icface.attributes import POSE_NAMES, REGIONS, AttributeSchema, Seen
from icface.control import apply_edits, parse_edits, relative
from icface.control.mixing import knows_rest, mix_regions, trim
from icface.control.tables import DEGREES, frames_per_second
from icface.errors import IcfaceError

log = logging.getLogger(__name__)
FOLLOWED = tuple(REGIONS)
"""Regions that may follow a driver of their own."""


@dataclass
class Task:
    """Something that runs in the background."""

    name: str
    done: int = 0
    total: int = 0
    error: str = ""
    result: Any = None
    path: Path | None = None
    """A file that belongs to it and goes with it."""
    analyzer: str | None = None
    """Of a driver: who measured it; None for the model's own scale."""
    seen: Mapping[str, Seen] | None = None
    """Of a driver: what that analyzer saw in the whole data set."""
    _future: "Future[None] | None" = field(default=None, repr=False)
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def state(self) -> str:
        """`working`, `done` or `failed`."""
        return "failed" if self.error else "done" if self.result is not None else "working"

    def progress(self, done: int, total: int) -> None:
        """How far it is. Raises IcfaceError, which ends the task, when nobody wants it any more."""
        if self._stopped.is_set():
            raise IcfaceError("stopped")
        self.done, self.total = done, total

    def drop(self) -> None:
        """Stop it and remove its file."""
        self._stopped.set()
        if self._future is not None:
            self._future.cancel()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


class Background:
    """One thread for measuring and making films: they do not race for the same cores."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="studio")

    def start(self, task: Task, work: Callable[[Task], Any]) -> Task:
        """Run `work`, whose return value becomes the task's result."""

        def run() -> None:
            try:
                task.result = work(task)
            except IcfaceError as error:
                task.error = str(error).replace(str(task.path), task.name)
            except OSError as error:
                task.error = f"{task.name}: {error.strerror or error}"
            except Exception as error:
                # Its words may name paths of this machine: they go to the log alone.
                log.exception("%s", task.name)
                task.error = f"{task.name}: the server failed ({type(error).__name__}); its log says more"
            if task._stopped.is_set() and task.path is not None:
                task.path.unlink(missing_ok=True)

        task._future = self._pool.submit(run)
        return task

    def close(self) -> None:
        """Wait for the task in hand; the others are not begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, kw_only=True)
class FilmPlan:
    """What a film follows."""

    follows: Mapping[str, str]
    """Region (`REGIONS`): id of the driver that it follows; one that is not named stays the portrait's own."""
    start: float | None = None
    end: float | None = None
    """Seconds of the driver; all of it by default."""
    relative: bool = False
    map_attributes: bool = False
    """Convert drivers that another analyzer than the model's measured."""
    gain: Mapping[str, float] = field(default_factory=dict)
    """Factor by attribute, named as on the command line."""
    offset: Mapping[str, float] = field(default_factory=dict)
    """Added afterwards; degrees for pose."""
    drawn: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """Attribute, row: the value that was drawn there by hand."""

    def __post_init__(self) -> None:
        unknown = [region for region in self.follows if region not in FOLLOWED]
        if unknown:
            raise IcfaceError(f"unknown region {unknown[0]!r}; known are {', '.join(FOLLOWED)}")
        if not self.follows:
            raise IcfaceError("no region follows a driver: choose one for at least one region")

    @property
    def main(self) -> str:
        """The driver whose times the film has: that of the first region that follows one."""
        return next(self.follows[region] for region in FOLLOWED if region in self.follows)

    def curves(
        self, drivers: Mapping[str, pd.DataFrame], schema: AttributeSchema, own: Mapping[str, float]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The table before and after gain, offset and drawing: `timestamp` and raw attributes.

        `drivers`: table by id. Raises IcfaceError when a driver is missing, the trimmed part is empty, or an edit
        names what is unknown, untrained or out of range.
        """
        tables = {name: relative(table) if self.relative else table for name, table in drivers.items()}
        parts = {region: tables[name] for region, name in self.follows.items()}
        base = tables[self.main]
        base = base[[name for name in ("timestamp", "face") if name in base.columns]]
        before = trim(mix_regions(base, parts), self.start, self.end)
        after = apply_edits(
            before,
            schema,
            own,
            scale=parse_edits(_entries(self.gain), schema, "scale"),
            add=parse_edits(_entries(self.offset), schema, "add"),
        )
        for name, points in self.drawn.items():
            for row, value in points.items():
                if not 0 <= row < len(after):
                    raise IcfaceError(f"{name} is drawn at frame {row}, and the film has {len(after)}")
                for raw, number in parse_edits([f"{name}={value:.6g}"], schema).items():
                    if raw not in after.columns:
                        after[raw] = pd.Series(own.get(raw, float("nan")), index=after.index, dtype="float32")
                    after.loc[row, raw] = number
        return before, after

    def notices(self, drivers: Mapping[str, pd.DataFrame], names: Mapping[str, str]) -> list[str]:
        """What was decided for the visitor; `drivers` and `names`: table and file name by id."""
        if not self.relative:
            return []
        short = [name for name, table in drivers.items() if not knows_rest(table)]
        return [
            f"{names[name]} is too short to tell its resting face: its first face is taken for it" for name in short
        ]

    def command(self, model: str, portrait: str, names: Mapping[str, str], face: int = 0) -> str:
        """The same as a command line; `names`: file name of each driver. Drawn curves go by way of the csv."""
        words = ["icface", "animate", model, portrait]
        words += ["--face", str(face + 1)] if face else []
        if self.drawn:
            words += ["--drive", "curves.csv"]
        else:
            followed = set(self.follows.values())
            if len(followed) == 1 and len(self.follows) == len(FOLLOWED):
                words += ["--drive", names[self.main]]
            else:
                for region in FOLLOWED:
                    words += [f"--{region}-from", names[self.follows[region]] if region in self.follows else "source"]
            words += ["--relative"] if self.relative else []
            words += ["--map-attributes"] if self.map_attributes else []
            for option, value in (("--start", self.start), ("--end", self.end)):
                words += [] if value is None else [option, f"{value:g}"]
            for option, values in (("--scale", self.gain), ("--add", self.offset)):
                words += [option, *_entries(values)] if values else []
            # The page takes what was measured as it is; of a csv nothing is filtered anyway.
            tables = all(names[each].lower().endswith(".csv") for each in followed)
            words += [] if tables else ["--smooth", "never"]
        return shlex.join([*words, "-o", "film.mp4"])


def still_command(model: str, portrait: str, values: Mapping[str, float], face: int) -> str:
    """The command line that makes the picture which the sliders show."""
    words = ["icface", "animate", model, portrait]
    words += ["--set", *_entries(values)] if values else ["--scale", "AU12=1"]
    words += ["--face", str(face + 1)] if face else []
    return shlex.join([*words, "-o", "picture.png"])


def curves_json(before: pd.DataFrame, after: pd.DataFrame, source: Source, schema: AttributeSchema) -> dict[str, Any]:
    """Both tables by attribute of `schema`, as the page draws them: degrees for pose, None where not measured."""
    short = {raw: name for name, raw in DEGREES.items()}

    def column(table: pd.DataFrame, name: str) -> list[float | None]:
        if name not in table.columns:
            return [shown(source.attributes.get(name, float("nan")), name)] * len(table)
        return [shown(float(value), name) for value in table[name]]

    return {
        "fps": round(frames_per_second(after), 3),
        "timestamp": np.round(after["timestamp"].to_numpy(float), 4).tolist(),
        "curves": {
            short.get(name, name): {"before": column(before, name), "after": column(after, name)}
            for name in schema.names
        },
    }


def shown(value: float, name: str) -> float | None:
    """A raw value as the page shows it: degrees for pose, None where not measured."""
    if math.isnan(value):
        return None
    return round(math.degrees(value), 2) if name in POSE_NAMES else round(value, 3)


def _entries(values: Mapping[str, float]) -> list[str]:
    return [f"{name}={re.sub(r'^-0$', '0', f'{value:.6g}')}" for name, value in values.items()]
