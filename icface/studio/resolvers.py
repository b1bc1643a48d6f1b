"""What the page is given from outside: models, sample portraits and data sets. `orchestration` fills these in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd

from icface.arrays import Picture
from icface.attributes import Seen
from icface.video.camera import LiveFrame


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A model that the page may open."""

    reference: str
    """As the command line names it: models:/NAME@ALIAS, models:/NAME/VERSION or a bundle folder."""
    label: str
    """Shown in the list."""


@dataclass(frozen=True, kw_only=True)
class ClipSummary:
    """One clip of a data set."""

    clip: str
    """identity/video/clip stem."""
    split: str
    frames: int
    largest: Mapping[str, float]
    """Largest value of each attribute that was measured, raw."""
    smallest: Mapping[str, float]


class ClipLibrary(Protocol):
    """A data set, as the page looks at it."""

    name: str

    @property
    def analyzer(self) -> str:
        """Name of who measured it."""
        ...

    @property
    def seen(self) -> Mapping[str, Seen]:
        """Which values its training frames show, by attribute."""
        ...

    def clips(self) -> Sequence[ClipSummary]:
        """Every clip that has frames, in order."""
        ...

    def table(self, clip: str) -> pd.DataFrame:
        """The attributes of the clip's stored frames: `frame`, `timestamp` and raw attributes.

        Those of one side (`icface.attributes.SIDE_NAMES`) may stand beside the 20.
        Raises IcfaceError for an unknown clip.
        """
        ...

    def picture(self, clip: str, frame: int) -> Picture:
        """(S, S, 3) uint8 RGB of a stored frame. Raises IcfaceError when there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class LiveSetting:
    """What `icface animate --live` shows."""

    model: str
    """Reference of one of the models on offer."""
    portrait: Picture
    name: str
    """Of the portrait's file."""
    driver: str
    """Name of the camera or the film, for show only."""
    frames: Callable[[], Iterator[LiveFrame]]
    """The driver's frames from now on."""
    edit: Callable[[pd.DataFrame, Mapping[str, float]], pd.DataFrame]
    """Makes of a row (raw attributes) and the portrait's own values the row that is shown."""
    layout: tuple[str, ...] = ("driver", "result")
    relative: bool = False
    """Whether the driver's first face is taken off."""
    smooth: bool = True
    """Whether the jitter of what is measured is filtered."""
    face: int = 0
    """Which face of the portrait, the largest first."""


@dataclass(frozen=True, kw_only=True)
class Resolvers:
    """Everything that the page may reach; it opens no path that a visitor names."""

    models: Callable[[], Sequence[ModelChoice]]
    """The models on offer, the one to begin with first."""
    bundle: Callable[[str], Path]
    """The bundle folder of one of them, by its reference."""
    samples: Mapping[str, Callable[[], Picture]] = field(default_factory=dict)
    """Portraits by name."""
    libraries: Mapping[str, ClipLibrary] = field(default_factory=dict)
    """Data sets by name."""
    live: LiveSetting | None = None
    """A portrait that follows a camera or a film from the start."""
