"""The page's server: a FastAPI app over a `Workshop`. Bad input is a sentence, and the page goes on."""

import contextlib
import errno
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles

import icface
from icface.errors import IcfaceError
from icface.studio.guard import Guard
from icface.studio.live import LiveDrive
from icface.studio.resolvers import Resolvers
from icface.studio.routes_data import data_routes
from icface.studio.routes_face import face_routes
from icface.studio.routes_film import FilmDesk, film_routes
from icface.studio.routes_live import live_routes
from icface.studio.uploads import Limits
from icface.studio.workshop import Workshop

log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"


def create_app(
    resolvers: Resolvers,
    *,
    token: str | None = None,
    hosts: frozenset[str] | None = None,
    limits: Limits | None = None,
    device: str = "cpu",
) -> FastAPI:
    """The page as an ASGI app.

    `token`: visitors must bring it; `hosts`: names that the server answers to, all when None; `device`: of the
    networks. Uploads lie in a temporary folder of the app's own, which goes when it shuts down.
    """
    limits = limits or Limits()
    workshop = Workshop(resolvers, device)
    folder = Path(tempfile.mkdtemp(prefix="icface-studio-"))
    desk = FilmDesk(workshop, folder, limits)
    live = LiveDrive(workshop, resolvers.live) if resolvers.live is not None else None

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if live is not None:
            live.start()
        yield
        if live is not None:
            live.stop()
        desk.close()
        workshop.close()
        shutil.rmtree(folder, ignore_errors=True)

    # Without the pages of FastAPI's own, which load scripts from elsewhere.
    app = FastAPI(title="icface studio", version=icface.__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Guard, token=token, hosts=hosts)
    app.include_router(face_routes(workshop, limits, live.portrait if live is not None else None))
    app.include_router(film_routes(workshop, desk))
    app.include_router(data_routes(workshop, desk))
    if live is not None:
        app.include_router(live_routes(live))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.exception_handler(IcfaceError)
    async def told(request: Request, error: IcfaceError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return JSONResponse({"error": f"{where or 'the request'}: {first['msg']}"}, 422)

    @app.exception_handler(OSError)
    async def no_room(request: Request, error: OSError) -> JSONResponse:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        log.error("%s %s: %s", request.method, request.url.path, error)
        text = (
            "the disk of this machine is full: make room and try again" if full else "the server cannot read or write"
        )
        return JSONResponse({"error": text}, 507 if full else 500)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        # Its words may name paths of this machine: they go to the log alone.
        log.exception("%s %s", request.method, request.url.path)
        return JSONResponse({"error": f"the server failed ({type(error).__name__}); its log says more"}, 500)

    return app
