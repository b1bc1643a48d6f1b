"""`icface animate --live`: the Studio page with one portrait that follows a camera or a film."""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from icface.bundle import load_bundle
from icface.control import apply_edits, clamp_to_seen, parse_edits
from icface.control.driving import PICTURES
from icface.errors import IcfaceError
from icface.images import read_image
from icface.studio.resolvers import LiveSetting, ModelChoice, Resolvers
from icface.studio.server import serve
from icface.video.camera import camera_frames, is_camera, played_frames
from icface.video.reading import probe
from orchestration.config import AnimateJob
from orchestration.devices import device_asked
from orchestration.driving import scales
from orchestration.registry.references import resolve


def live_resolvers(job: AnimateJob) -> tuple[Resolvers, list[str]]:
    """What the page is given, and lines that its user should read.

    Raises IcfaceError when the model, the portrait, the driver or an edit cannot be used.
    """
    folder = resolve(job.model).folder
    schema = load_bundle(folder).config.schema
    edits = {
        "scale": scales(job, schema),
        "add": parse_edits(job.add, schema, "add"),
        "set": parse_edits(job.set, schema, "set"),
    }
    edits["set"], notices = clamp_to_seen(edits["set"], schema)
    driver = str(job.drive)
    if Path(driver).suffix.lower() in PICTURES:
        raise IcfaceError(f"--live: {driver} is a picture, which does not move; drive with a video or camera:0")
    if not is_camera(driver):
        probe(driver)

    def edit(row: pd.DataFrame, own: Mapping[str, float]) -> pd.DataFrame:
        return apply_edits(row, schema, own, **edits)

    live = LiveSetting(
        model=job.model,
        portrait=read_image(job.source_image),
        name=Path(job.source_image).name,
        driver=driver if is_camera(driver) else Path(driver).name,
        frames=lambda: camera_frames(driver) if is_camera(driver) else played_frames(driver, repeat=True),
        edit=edit,
        layout=job.shown,
        relative=job.relative,
        smooth=job.smooth != "never",
        face=job.face - 1,
    )
    choice = ModelChoice(reference=job.model, label=job.model)
    return Resolvers(models=lambda: [choice], bundle=lambda reference: folder, live=live), notices


def show_live(job: AnimateJob, say: Callable[[str], None]) -> None:
    """Show the page until Ctrl-C, to those who have the address that `say` gets.

    It shows a camera, and every user of this machine reaches 127.0.0.1: so the address always has a new token.
    """
    device = device_asked(job.gpu)
    resolvers, notices = live_resolvers(job)
    for notice in notices:
        say(notice)
    serve(resolvers, "127.0.0.1", job.port, secrets.token_urlsafe(18), device, say)
