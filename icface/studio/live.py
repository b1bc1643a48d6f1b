"""A portrait that follows a camera, or a film that plays, as fast as this machine can."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from icface import analyzers
from icface.analyzers.face import Face
from icface.analyzers.following import follow
from icface.animate import Source
from icface.arrays import Picture
from icface.attributes import unit_of
from icface.compose import side_by_side
from icface.control.motion import LiveSmoother
from icface.errors import IcfaceError
from icface.images import encode_jpeg
from icface.labels import BASELINE_PERCENTILES
from icface.provenance import Mark, mark_jpeg
from icface.studio.resolvers import LiveSetting
from icface.studio.workshop import OpenModel, Portrait, Workshop

log = logging.getLogger(__name__)
PATIENCE = 1.0
"""Seconds that a request waits for the next picture."""
RECENT = 30
"""Pictures over which the rate is taken."""
HEIGHT = 256
"""Of pictures side by side, px at least."""
QUALITY = 90
"""Of the JPEGs."""


@dataclass(frozen=True)
class LivePicture:
    """The newest picture."""

    number: int
    jpeg: bytes
    delay: float
    """Seconds from the driver's frame to this picture."""


class LiveDrive:
    """Measures the newest frame of a driver, animates the portrait by it, and keeps the newest picture."""

    def __init__(self, workshop: Workshop, setting: LiveSetting) -> None:
        self.setting = setting
        self.portrait = workshop.portraits.add(Portrait(picture=setting.portrait, name=setting.name, file=setting.name))
        self._workshop = workshop
        self._control = threading.Lock()
        """Of starting and stopping: visitors may do both at once, and a camera has one reader."""
        self._news = threading.Condition()
        self._picture: LivePicture | None = None
        self._times: deque[float] = deque(maxlen=RECENT)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._error = ""
        self._faceless = False

    def start(self) -> None:
        """Begin, or begin again; nothing happens when it runs already."""
        with self._control:
            if self._thread is not None and self._thread.is_alive():
                return
            self._stopped.clear()
            self._error = ""
            with self._news:
                self._times.clear()  # the pause between does not count as a slow picture
            self._thread = threading.Thread(target=self._run, name="studio-live", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End it and wait until it has."""
        with self._control:
            self._stopped.set()
            with self._news:
                self._news.notify_all()
            if self._thread is not None:
                self._thread.join(timeout=10)

    def after(self, number: int) -> LivePicture | None:
        """The newest picture, once it is newer than `number`; None when none comes within a second."""
        with self._news:
            self._news.wait_for(
                lambda: self._stopped.is_set() or (self._picture is not None and self._picture.number > number),
                timeout=PATIENCE,
            )
            picture = self._picture
        return picture if picture is not None and picture.number > number else None

    def status(self) -> dict[str, object]:
        """How it goes: `working` or `stopped`, pictures a second, seconds of delay, what is wrong."""
        with self._news:
            steps = [later - sooner for sooner, later in pairwise(self._times)]
            picture = self._picture
        return {
            "state": "working" if self._thread is not None and self._thread.is_alive() else "stopped",
            "driver": self.setting.driver,
            "rate": round(1 / float(np.mean(steps)), 1) if steps else 0.0,
            "delay": round(picture.delay, 3) if picture else 0.0,
            "error": self._error or ("no face is found in the driver's picture" if self._faceless else ""),
        }

    def _run(self) -> None:
        try:
            model = self._workshop.model(self.setting.model)
            source = self._workshop.prepared(model, self.portrait, self.setting.face)
            # One of its own: portraits that are chosen meanwhile do not wait for it, nor it for them.
            analyzer = analyzers.from_record(model.animator.model.config.analyzer, self._workshop.device)
            try:
                self._follow(model, source, lambda picture: analyzer.analyze(picture[None], [0], "live")[0])
            finally:
                analyzer.close()
        except IcfaceError as error:
            self._error = str(error)
        except Exception as error:
            # Its words may name paths of this machine: they go to the log alone.
            log.exception("live")
            self._error = f"the server failed ({type(error).__name__}); its log says more"

    def _follow(self, model: OpenModel, source: Source, faces_in: Callable[[Picture], list[Face]]) -> None:
        row = LiveRow(self.setting.relative, self.setting.smooth, model.animator.model.schema.sided)
        mark = Mark(bundle=model.bundle, composite=len(self.setting.layout) > 1)
        face: Face | None = None
        began: float | None = None
        for frame in self.setting.frames():
            if self._stopped.is_set():
                return
            began = time.monotonic() - frame.seconds if began is None else began
            faces = faces_in(frame.picture)
            found = follow(faces, None if face is None else face.box) or next(iter(faces), None)
            self._faceless = found is None
            face = found or face
            if face is None:
                continue
            table = self.setting.edit(row(frame.seconds, face), source.attributes)
            result = next(self._workshop.frames(model, source, table))
            panels = {"source": source.crop, "driver": frame.picture, "result": result}
            shown = [panels[name] for name in self.setting.layout]
            beside = side_by_side(shown, height=max(len(result), HEIGHT)) if len(shown) > 1 else result
            jpeg = mark_jpeg(encode_jpeg(np.ascontiguousarray(beside), QUALITY), mark)
            now = time.monotonic()
            with self._news:
                number = self._picture.number + 1 if self._picture else 1
                self._picture = LivePicture(number, jpeg, now - began - frame.seconds)
                self._times.append(now)
                self._news.notify_all()


class LiveRow:
    """Tables of one row from faces that come one after the other: filtered, and less the first face where asked."""

    def __init__(self, relative: bool, smooth: bool = True, sides: bool = False) -> None:
        self._relative = relative
        self._sides = sides
        self._smooth = LiveSmoother() if smooth else None
        self._rest: dict[str, float] | None = None
        self._last = -1.0

    def __call__(self, seconds: float, face: Face) -> pd.DataFrame:
        """(1, 20) raw attributes, (1, 36) with sides; NaN where not measured."""
        values = face.values(self._sides)
        if self._smooth is not None and seconds > self._last:
            values = self._smooth(seconds, values)
            self._last = seconds
        if self._relative:
            self._rest = self._rest or {
                name: np.nan_to_num(value) for name, value in values.items() if unit_of(name) in BASELINE_PERCENTILES
            }
            for name, rest in self._rest.items():
                lowest = -np.inf if name.startswith("pose") else 0.0
                values[name] = max(values[name] - rest, lowest)
        return pd.DataFrame({name: [value] for name, value in values.items()}, dtype=np.float32)
