"""Addresses of the live tab: start, stop, how it goes, and the newest picture."""

from fastapi import APIRouter
from fastapi.responses import Response

from icface.studio.live import LiveDrive


def live_routes(live: LiveDrive) -> APIRouter:
    """Their router."""
    router = APIRouter(prefix="/api/live")

    @router.get("")
    def status() -> dict[str, object]:
        return live.status()

    @router.post("/start")
    def start() -> dict[str, object]:
        live.start()
        return live.status()

    @router.post("/stop")
    def stop() -> dict[str, object]:
        live.stop()
        return live.status()

    @router.get("/picture.jpg")
    def picture(after: int = 0) -> Response:
        """The newest picture, once it is newer than number `after`; 204 when none comes within a second."""
        found = live.after(after)
        if found is None:
            return Response(status_code=204)
        headers = {"x-number": str(found.number), "x-delay": f"{found.delay:.3f}"}
        return Response(found.jpeg, media_type="image/jpeg", headers=headers)

    return router
