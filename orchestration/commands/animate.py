"""`icface animate MODEL SOURCE_IMAGE`."""

from collections.abc import Sequence

from icface.errors import IcfaceError
from icface.words import counted, pip_install
from orchestration.commands import parse
from orchestration.config import AnimateJob
from orchestration.terminal import Reporter


def main(argv: Sequence[str]) -> None:
    job = parse(AnimateJob, argv, "animate")
    if job.live:
        try:
            from orchestration.live import show_live
        except ModuleNotFoundError as error:
            raise IcfaceError(f"--live needs {error.name}: {pip_install('fastapi', 'uvicorn')}") from None
        with Reporter(plain=True) as reporter:
            show_live(job, reporter.say)
        return
    from orchestration.animation import animate

    with Reporter() as reporter:
        made = animate(job, lambda done, total: reporter.progress("frames", done, total))
        for notice in made.notices:
            reporter.say(notice)
        for name, count in made.clamped.items():
            frames = counted(count, "frame")
            reporter.say(f"{name} left what the training data shows in {frames} and was clamped")
        if made.left_alone:
            names = ", ".join(made.left_alone)
            reporter.say(f"{names} could not be measured on the portrait: its neutral face may keep them")
        reporter.result(output=made.output, frames=made.frames)
