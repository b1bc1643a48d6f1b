"""Addresses of the sliders and of the comparison: models, portraits, pictures."""

from typing import Any
from urllib.parse import unquote

import numpy as np
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel, Field

from icface.arrays import Picture
from icface.errors import IcfaceError
from icface.images import encode_png
from icface.provenance import Mark, mark_png
from icface.studio.film import still_command
from icface.studio.latest import Overtaken
from icface.studio.uploads import MIB, Limits, read_picture, receive
from icface.studio.workshop import Portrait, Workshop, describe_model, own_values


class Chosen(BaseModel):
    """A model and a portrait."""

    model: str
    portrait: str
    face: int = Field(0, ge=0, le=100)


class Asked(Chosen):
    """A picture that is asked for."""

    values: dict[str, float] = Field(default_factory=dict)
    view: str = Field("page", max_length=100)
    sequence: int = 0


def png(picture: Picture, mark: Mark | None = None) -> Response:
    """A picture as an answer, with its mark when a model made it."""
    data = encode_png(np.ascontiguousarray(picture))
    return Response(mark_png(data, mark) if mark else data, media_type="image/png")


def file_name(request: Request) -> str:
    """The name that the visitor's file has, for show only: the last part of it, of what can be printed."""
    given = unquote(request.headers.get("x-file-name", "")) or "picture"
    kept = "".join(c for c in given.replace("\\", "/").rsplit("/", 1)[-1] if c.isprintable())
    return kept[:80] or "picture"


def described(name: str, portrait: Portrait) -> dict[str, Any]:
    """A kept portrait as the page knows it."""
    height, width = portrait.picture.shape[:2]
    return {"portrait": name, "name": portrait.name, "width": width, "height": height}


def face_routes(workshop: Workshop, limits: Limits, live: str | None) -> APIRouter:
    """Their router. `live`: id of the portrait that follows a driver from the start."""
    router = APIRouter(prefix="/api")

    @router.get("/state")
    def state() -> dict[str, Any]:
        resolvers = workshop.resolvers
        return {
            "models": [vars(choice) for choice in resolvers.models()],
            "samples": list(resolvers.samples),
            "libraries": list(resolvers.libraries),
            "limits": vars(limits),
            "live": described(live, workshop.portraits.get(live)) if live is not None else None,
        }

    @router.post("/models")
    def open_model(chosen: dict[str, str]) -> dict[str, object]:
        return describe_model(workshop.model(chosen.get("reference", "")))

    @router.post("/portraits")
    async def upload(request: Request) -> dict[str, Any]:
        data = await receive(request.stream(), limits.picture_mib * MIB)
        name = file_name(request)
        picture = await run_in_threadpool(read_picture, data, limits)
        return kept(Portrait(picture=picture, name=name, file=name))

    @router.post("/samples/{name}")
    def sample(name: str) -> dict[str, Any]:
        samples = workshop.resolvers.samples
        if name not in samples:
            raise IcfaceError(f"there is no sample {name!r}")
        return kept(Portrait(picture=samples[name](), name=name))

    def kept(portrait: Portrait) -> dict[str, Any]:
        return described(workshop.portraits.add(portrait), portrait)

    @router.post("/prepare")
    def prepare(chosen: Chosen) -> dict[str, Any]:
        """Find the face and bring it to neutral: the slow part, once for each model and portrait."""
        source = workshop.prepared(workshop.model(chosen.model), chosen.portrait, chosen.face)
        return {"own": own_values(source), "faces": source.faces}

    @router.get("/source.png")
    def source_picture(model: str, portrait: str, face: int = 0) -> Response:
        return png(workshop.prepared(workshop.model(model), portrait, face).crop)

    @router.get("/neutral.png")
    def neutral_picture(model: str, portrait: str, face: int = 0) -> Response:
        opened = workshop.model(model)
        return png(workshop.neutral(opened, workshop.prepared(opened, portrait, face)), opened.mark)

    @router.post("/picture")
    def picture(asked: Asked) -> Response:
        """The face with these values; 204 when a newer request of the same view overtook this one."""
        workshop.latest.announce(asked.view, asked.sequence)
        opened = workshop.model(asked.model)
        source = workshop.prepared(opened, asked.portrait, asked.face)
        try:
            made = workshop.picture(opened, source, asked.values, asked.view, asked.sequence)
        except Overtaken:
            return Response(status_code=204)
        return png(made, opened.mark)

    @router.post("/command")
    def command(asked: Asked) -> dict[str, str]:
        name = workshop.portraits.get(asked.portrait).file
        return {"command": still_command(asked.model, name, asked.values, asked.face)}

    return router
