"""Addresses of the data tab: clips of a data set, their curves, their frames."""

from typing import Any

import numpy as np
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from icface.attributes import ATTRIBUTE_NAMES
from icface.control.tables import DEGREES, from_zero
from icface.errors import IcfaceError
from icface.studio.clip_filter import parse_filter
from icface.studio.film import shown
from icface.studio.resolvers import ClipLibrary
from icface.studio.routes_face import described, png
from icface.studio.routes_film import FilmDesk
from icface.studio.workshop import Portrait, Workshop

PAGE = 50
"""Clips that are listed at once."""


class ClipFrame(BaseModel):
    """A stored frame of a clip."""

    clip: str
    frame: int = 0


def data_routes(workshop: Workshop, desk: FilmDesk) -> APIRouter:
    """Their router."""
    router = APIRouter(prefix="/api/libraries")

    def library(name: str) -> ClipLibrary:
        if name not in workshop.resolvers.libraries:
            raise IcfaceError(f"there is no data set {name!r} on this page")
        return workshop.resolvers.libraries[name]

    @router.get("/{name}")
    def clips(name: str, filter: str = "", start: int = 0) -> dict[str, Any]:
        """Clips in which some frame fulfils each condition of the filter by itself."""
        conditions = parse_filter(filter)
        found = [clip for clip in library(name).clips() if all(c.may_hold(clip) for c in conditions)]
        listed = [{"clip": c.clip, "split": c.split, "frames": c.frames} for c in found[start : start + PAGE]]
        return {"total": len(found), "clips": listed}

    @router.get("/{name}/clip")
    def clip(name: str, clip: str, filter: str = "") -> dict[str, Any]:
        """A clip's curves, and which of its frames fulfil all conditions at once."""
        table = library(name).table(clip)
        matches = np.ones(len(table), bool)
        for condition in parse_filter(filter):
            matches &= condition.holds(table)
        short = {raw: each for each, raw in DEGREES.items()}
        return {
            "frame": table["frame"].astype(int).tolist(),
            "timestamp": np.round(table["timestamp"].to_numpy(float), 4).tolist(),
            "matches": matches.tolist(),
            "curves": {
                short.get(each, each): [shown(float(value), each) for value in table[each]]
                for each in ATTRIBUTE_NAMES
                if table[each].notna().any()
            },
        }

    @router.get("/{name}/frame.png")
    def frame(name: str, clip: str, frame: int) -> Response:
        return png(library(name).picture(clip, frame))

    @router.post("/{name}/portrait")
    def as_portrait(name: str, chosen: ClipFrame) -> dict[str, Any]:
        picture = library(name).picture(chosen.clip, chosen.frame)
        title = f"{chosen.clip} frame {chosen.frame}"
        portrait = Portrait(picture=picture, name=title)
        return described(workshop.portraits.add(portrait), portrait)

    @router.post("/{name}/driver")
    def as_driver(name: str, chosen: ClipFrame) -> dict[str, str]:
        found = library(name)
        title = f"{name}#{chosen.clip}"
        table = from_zero(found.table(chosen.clip))
        return {"driver": desk.add_table(table, title, found.analyzer, found.seen)}

    return router
