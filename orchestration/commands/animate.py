"""`icface animate MODEL SOURCE_IMAGE`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from orchestration.commands import parse
from orchestration.terminal import Reporter


@dataclass(frozen=True, kw_only=True)
class Animate:
    """Drive a portrait. Parts of several drivers are mixed, then --scale, --add and --set apply in this order.

    Without a driver a picture gets the edits at once, and a video goes from the source's own face to the edited one
    and back.
    """

    model: str
    """A bundle folder, runs:/ID/bundle, models:/NAME/VERSION or models:/NAME@ALIAS."""
    source_image: str
    """The portrait: a picture with a face."""
    drive: str | None = None
    """A video, a picture or an attribute csv that drives everything."""
    pose_from: str | None = None
    """Take pitch, yaw and roll from this driver instead."""
    eyes_from: str | None = None
    """Take the upper face from this driver instead."""
    mouth_from: str | None = None
    """Take the lower face from this driver instead."""
    set: tuple[str, ...] = ()
    """NAME=VALUE: AUs 0..5; pitch, yaw, roll in degrees."""
    add: tuple[str, ...] = ()
    """NAME=DIFFERENCE."""
    scale: tuple[str, ...] = ()
    """NAME=FACTOR."""
    relative: bool = False
    """Take the driver's own resting face off what it does: its zero differs from the source's."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "animated.mp4"
    """OUT.mp4, OUT.gif or OUT.png (several frames: a sheet of them)."""
    gpu: bool = False
    """Run the networks on the GPU."""


def main(argv: Sequence[str]) -> None:
    options = parse(Animate, argv, "animate")
    from orchestration.animation import AnimateJob, animate

    job = AnimateJob(
        model=options.model,
        source=options.source_image,
        drive=options.drive,
        pose_from=options.pose_from,
        eyes_from=options.eyes_from,
        mouth_from=options.mouth_from,
        set=options.set,
        add=options.add,
        scale=options.scale,
        relative=options.relative,
        output=options.output,
        device="cuda" if options.gpu else "cpu",
    )
    with Reporter() as reporter:
        made = animate(job, lambda done, total: reporter.progress("frames", done, total))
        for name, count in made.clamped.items():
            reporter.say(f"{name} left the model's range in {count} frames and was clamped")
        reporter.result(output=made.output, frames=made.frames)
