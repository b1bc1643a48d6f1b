"""Addresses of the video tab: drivers, curves, films."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, PlainTextResponse
from pydantic import BaseModel, Field

from icface import analyzers
from icface.analyzers.registry import DEFAULT
from icface.attributes import Seen
from icface.control import read_driving, relative
from icface.control.driving import measured_by
from icface.control.edits import complete
from icface.control.mapping import map_attributes, same_scale
from icface.control.mixing import knows_rest
from icface.control.sides import fit_sides
from icface.control.tables import ANALYZER, frames_per_second, uneven_times
from icface.errors import IcfaceError
from icface.studio.film import Background, FilmPlan, Task, curves_json
from icface.studio.kept import Kept
from icface.studio.routes_face import Chosen, file_name
from icface.studio.uploads import MIB, Limits, keep_driver, receive
from icface.studio.workshop import OpenModel, Workshop
from icface.video.writing import write_video

DRIVERS = 16
FILMS = 16
LONGEST_FILM = 20_000
"""Frames."""


class Planned(Chosen):
    """A film that is asked for."""

    follows: dict[str, str]
    start: float | None = None
    end: float | None = None
    relative: bool = False
    map_attributes: bool = False
    gain: dict[str, float] = Field(default_factory=dict)
    offset: dict[str, float] = Field(default_factory=dict)
    drawn: dict[str, dict[int, float]] = Field(default_factory=dict)

    def plan(self) -> FilmPlan:
        """The part that says how the film is made."""
        names = ("follows", "start", "end", "relative", "map_attributes", "gain", "offset", "drawn")
        return FilmPlan(**{name: getattr(self, name) for name in names})


class NewDriver(BaseModel):
    """What measures an uploaded driver: the analyzer of this model."""

    model: str


class FilmDesk:
    """Drivers and films of all visitors, in files of a folder of their own."""

    def __init__(self, workshop: Workshop, folder: Path, limits: Limits) -> None:
        self.workshop = workshop
        self.folder = folder
        self.limits = limits
        self.background = Background()
        self.drivers: Kept[Task] = Kept("driver", DRIVERS, Task.drop)
        self.films: Kept[Task] = Kept("film", FILMS, Task.drop)

    def add_driver(self, data: bytes, name: str, model: str) -> str:
        """Keep an uploaded driver and measure it in the background; returns its id."""
        record = self.workshop.model(model).animator.model.config.analyzer
        task = Task(name=name, path=keep_driver(data, self.folder, self.limits))

        def measure(task: Task) -> pd.DataFrame:
            assert task.path is not None
            if task.path.suffix == ".csv":
                task.analyzer = measured_by(task.path)
                return read_driving(task.path, None)
            # One of its own: a long video must not keep the portraits waiting.
            own = analyzers.from_record(record, self.workshop.device)
            try:
                return read_driving(task.path, own, task.progress, sides=True)  # for whichever model follows it
            finally:
                own.close()

        return self.drivers.add(self.background.start(task, measure))

    def add_table(self, table: pd.DataFrame, name: str, analyzer: str, seen: Mapping[str, Seen]) -> str:
        """A clip of a data set as a driver: `analyzer` measured it, and saw these values in the whole data set."""
        count = len(table)
        return self.drivers.add(Task(name=name, done=count, total=count, result=table, analyzer=analyzer, seen=seen))

    def curves(self, asked: Planned) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The film's table before and after the edits."""
        model = self.workshop.model(asked.model)
        source = self.workshop.prepared(model, asked.portrait, asked.face)
        plan = asked.plan()
        return plan.curves(self._tables(plan, model), model.animator.model.schema, source.attributes)

    def command(self, asked: Planned) -> str:
        """The same as a command line."""
        plan = asked.plan()
        portrait = self.workshop.portraits.get(asked.portrait).file
        return plan.command(asked.model, portrait, self._names(plan), asked.face)

    def notices(self, asked: Planned) -> list[str]:
        """What was decided for the visitor."""
        plan = asked.plan()
        return plan.notices(self._tables(plan, self.workshop.model(asked.model)), self._names(plan))

    def add_film(self, asked: Planned) -> str:
        """Make a film in the background; returns its id. Raises IcfaceError when it is too long."""
        model = self.workshop.model(asked.model)
        source = self.workshop.prepared(model, asked.portrait, asked.face)
        _, table = self.curves(asked)
        if len(table) > LONGEST_FILM:
            raise IcfaceError(f"this film has {len(table)} frames; trim it to {LONGEST_FILM}")
        handle, name = tempfile.mkstemp(dir=self.folder, prefix="film-", suffix=".mp4")
        os.close(handle)
        task = Task(name="film.mp4", total=len(table), path=Path(name))

        def make(task: Task) -> pd.DataFrame:
            assert task.path is not None

            def counted() -> Any:
                for number, frame in enumerate(self.workshop.frames(model, source, table), 1):
                    task.progress(number, len(table))
                    yield frame

            write_video(task.path, counted(), frames_per_second(table), times=uneven_times(table), mark=model.mark)
            used = complete(table, model.animator.model.schema, source.attributes)
            return used.assign(**{ANALYZER: model.animator.model.config.analyzer.get("name", DEFAULT)})

        return self.films.add(self.background.start(task, make))

    def close(self) -> None:
        """Stop what runs and remove every file."""
        self.drivers.clear()
        self.films.clear()
        self.background.close()

    def _names(self, plan: FilmPlan) -> dict[str, str]:
        return {each: self.drivers.get(each).name for each in plan.follows.values()}

    def _tables(self, plan: FilmPlan, model: OpenModel) -> dict[str, pd.DataFrame]:
        own = str(model.animator.model.config.analyzer.get("name", DEFAULT))
        tables = {}
        for name in set(plan.follows.values()):
            driver = self.drivers.get(name)
            if driver.state != "done":
                raise IcfaceError(driver.error or f"{driver.name} is still being measured")
            table = fit_sides(driver.result, model.animator.model.schema)
            if driver.analyzer is not None and not same_scale(driver.analyzer, own):
                if not plan.map_attributes:
                    raise IcfaceError(
                        f"{driver.name} was measured by {driver.analyzer}, and the model's attributes by {own}, "
                        "whose scale is another: tick the box that converts them"
                    )
                table = map_attributes(table, model.animator.model.schema, driver.seen)
            # As the command line does: a model whose zero is a person's own wants the driver's taken off.
            if model.animator.model.config.baselines and not plan.relative and knows_rest(table):
                table = relative(table)
            tables[name] = table
        return tables


def progress_json(task: Task) -> dict[str, Any]:
    """How far a task is."""
    return {"name": task.name, "state": task.state, "done": task.done, "total": task.total, "error": task.error}


def film_routes(workshop: Workshop, desk: FilmDesk) -> APIRouter:
    """Their router."""
    router = APIRouter(prefix="/api")

    @router.post("/drivers")
    async def upload(request: Request, model: str) -> dict[str, str]:
        data = await receive(request.stream(), desk.limits.video_mib * MIB)
        return {"driver": await run_in_threadpool(desk.add_driver, data, file_name(request), model)}

    @router.get("/drivers/{name}")
    def driver(name: str) -> dict[str, Any]:
        task = desk.drivers.get(name)
        seconds = float(task.result["timestamp"].iloc[-1]) if task.state == "done" else None
        return progress_json(task) | {"seconds": seconds}

    @router.post("/curves")
    def curves(asked: Planned) -> dict[str, Any]:
        model = workshop.model(asked.model)
        source = workshop.prepared(model, asked.portrait, asked.face)
        before, after = desk.curves(asked)
        schema = model.animator.model.schema
        return curves_json(before, after, source, schema) | {
            "command": desk.command(asked),
            "notices": desk.notices(asked),
        }

    @router.post("/films")
    def film(asked: Planned) -> dict[str, str]:
        return {"film": desk.add_film(asked)}

    @router.get("/films/{name}")
    def progress(name: str) -> dict[str, Any]:
        return progress_json(desk.films.get(name))

    @router.get("/films/{name}/film.mp4")
    def mp4(name: str) -> FileResponse:
        task = desk.films.get(name)
        if task.state != "done" or task.path is None:
            raise IcfaceError(task.error or "the film is not finished yet")
        return FileResponse(task.path, media_type="video/mp4", filename="film.mp4", content_disposition_type="inline")

    @router.get("/films/{name}/curves.csv")
    def csv(name: str) -> PlainTextResponse:
        task = desk.films.get(name)
        if task.state != "done":
            raise IcfaceError(task.error or "the film is not finished yet")
        headers = {"content-disposition": 'attachment; filename="curves.csv"'}
        return PlainTextResponse(
            task.result.to_csv(index=False, float_format="%.6g"), media_type="text/csv", headers=headers
        )

    return router
