"""`icface preprocess SOURCE DATASET`."""

from collections.abc import Sequence

from icface.errors import IcfaceError
from orchestration.commands import parse
from orchestration.terminal import Reporter, duration
from pipelines.config import PreprocessConfig


def main(argv: Sequence[str]) -> None:
    config = parse(PreprocessConfig, argv, "preprocess")
    with Reporter() as reporter:
        if config.dry_run:
            _dry_run(config, reporter)
        else:
            run(config, reporter)


def _dry_run(config: PreprocessConfig, reporter: Reporter) -> None:
    from pipelines.preprocess.estimate import estimate

    found = estimate(config)
    reporter.result(
        clips=found.clips,
        identities=found.identities,
        source_gb=round(found.source_gb, 3),
        frames_about=round(found.frames),
        dataset_gb_about=round(found.dataset_gb, 3),
        core_hours_about=round(found.core_hours, 3),
        gpu_hours_about=round(found.core_hours * config.gpus, 3),
        frames_per_second_and_core=round(found.frames_per_second, 1),
        looked_at=f"{found.probed} clips, {found.unreadable} of them cannot be read",
    )


def run(config: PreprocessConfig, reporter: Reporter) -> None:
    """Make the data set, showing how far it is."""
    from pipelines.preprocess.job import preprocess
    from pipelines.preprocess.progress import Progress

    def show(progress: Progress) -> None:
        reporter.progress(
            progress.stage,
            progress.clips,
            progress.total,
            f"{duration(progress.seconds_left)} left, {progress.frames} frames, {progress.frames_per_second:.0f}/s, "
            f"{progress.rejected} rejected, {progress.failed} failed",
            frames=progress.frames,
            frames_per_second=round(progress.frames_per_second, 1),
            rejected=progress.rejected,
            failed=progress.failed,
            nodes=progress.nodes,
            seconds_left=progress.seconds_left,
        )

    try:
        summary = preprocess(config, show)
    except KeyboardInterrupt:
        raise IcfaceError("stopped; what is finished is kept, and the same command goes on from there") from None
    reporter.result(
        dataset=summary.url,
        clips=f"{summary.clips} ({summary.new_clips} new): {summary.ok} ok, {summary.rejected} rejected, "
        f"{summary.failed} failed",
        frames=", ".join(f"{split} {count}" for split, count in summary.frames.items()) or "none",
        identities=", ".join(f"{split} {count}" for split, count in summary.identities.items()) or "none",
        **({} if summary.flagged is None else {"not_the_person_of_their_folder": summary.flagged}),
        **({"reasons": ", ".join(f"{why}: {n}" for why, n in summary.reasons.items())} if summary.reasons else {}),
    )
