"""Jobs with their progress and results shown: what commands and the demo run."""

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from icface.errors import IcfaceError
from icface.files import replacing
from orchestration.config import TrainJob
from orchestration.terminal import Reporter, duration
from orchestration.train.progress import OnProgress, TrainingProgress
from pipelines.config import PreprocessConfig
from pipelines.synthesis.config import SynthesisConfig

if TYPE_CHECKING:
    from orchestration.train.estimate import Forecast
    from pipelines.preprocess import progress as preprocessing

SHOWN = ("A/reconstruction", "N/reconstruction", "D/adversarial", "D/attribute")
"""Losses in the line of progress; MLflow has them all."""
CORRECTED_AFTER = 60.0
"""Seconds of training after which a forecast is compared with what was measured."""
FACTS = ("images_per_second", "seconds_left", "checkpoint", "workers", "nodes")


def preprocessing_of(reporter: Reporter) -> "preprocessing.OnProgress":
    """What shows the progress of preprocessing on `reporter`."""

    def show(progress: "preprocessing.Progress") -> None:
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

    return show


@contextmanager
def _going_on_later() -> Iterator[None]:
    """Ctrl-C ends a job whose finished shards are kept."""
    try:
        yield
    except KeyboardInterrupt:
        raise IcfaceError("stopped; what is finished is kept, and the same command goes on from there") from None


def preprocess(config: PreprocessConfig, reporter: Reporter) -> None:
    """Make the data set, showing how far it is. Raises IcfaceError when it is stopped, and as the job does."""
    from pipelines.preprocess import job

    with _going_on_later():
        summary = job.preprocess(config, preprocessing_of(reporter))
    reporter.result(
        dataset=summary.url,
        **({} if summary.part is None else {"part": f"{summary.part}; after all: icface dataset finish {summary.url}"}),
        clips=f"{summary.clips} ({summary.new_clips} new): {summary.ok} ok, {summary.rejected} rejected, "
        f"{summary.failed} failed",
        frames=", ".join(f"{split} {count}" for split, count in summary.frames.items()) or "none",
        identities=", ".join(f"{split} {count}" for split, count in summary.identities.items()) or "none",
        **({"without_a_face_in_most_frames": f"{summary.half_lost} of the ok clips"} if summary.half_lost else {}),
        **({"measured_on_the_cpu": f"{summary.fell_back}, after a process was lost"} if summary.fell_back else {}),
        **({} if summary.flagged is None else {"not_the_person_of_their_folder": summary.flagged}),
        **({} if summary.linked is None else {"linked_identities": _linked(*summary.linked, summary.url)}),
        **({"passed_over": "; ".join(summary.passed_over)} if summary.passed_over else {}),
        **({"reasons": ", ".join(f"{why}: {n}" for why, n in summary.reasons.items())} if summary.reasons else {}),
    )


def _linked(pairs: int, apart: int, url: str) -> str:
    """How many identities share pictures or a face, in words."""
    if not apart:
        return f"{pairs} pairs" if pairs else "none"
    return f"{pairs} pairs, {apart} on two sides of the split: `icface dataset split {url} OUT` keeps them together"


def synthesise(config: SynthesisConfig, reporter: Reporter) -> None:
    """Make a data set of synthetic people, showing how far it is.

    Raises IcfaceError when it is stopped, and as the job does.
    """
    from pipelines.synthesis import job

    with _going_on_later():
        summary = job.synthesise(config, preprocessing_of(reporter))
    reporter.result(
        dataset=summary.url,
        people=f"{summary.clips} ({summary.new_clips} new)",
        frames=", ".join(f"{split} {count}" for split, count in summary.frames.items()) or "none",
        identities=", ".join(f"{split} {count}" for split, count in summary.identities.items()) or "none",
        licence=job.LICENCE,
    )


def train(options: TrainJob, reporter: Reporter) -> None:
    """Train, showing how far it is. Raises IcfaceError when it is stopped, and as the training does."""
    from orchestration.tracking import pages
    from orchestration.train import driver
    from orchestration.train.estimate import forecast

    show = progress_of(reporter, options.training.steps)
    if (told := forecast(options)) is not None:
        reporter.say(told.line)
        show = correcting(told, reporter, show)
    begun = time.monotonic()
    result = driver.train(options, show)
    taken = duration(time.monotonic() - begun)
    if result.unsent:
        reporter.say(f"the tracking server did not take {result.unsent}")
    if result.bundle is None:
        raise IcfaceError(
            f"the training was stopped at step {result.steps}, after {taken}; go on with: "
            f"{resuming(options, result.name)}"
        )
    facts: dict[str, Any] = {"run": result.name, "mlflow_run": result.run_id, **pages.facts(result.run_id)}
    facts["bundle"] = model = result.bundle
    if result.kept is not None:
        facts["best"] = result.kept.told
        model = result.kept.bundle
    if result.version is not None:
        facts["registered"] = model = f"models:/{options.register}/{result.version}"
    facts |= {"steps": result.steps, "time_taken": taken}
    if result.steps < options.training.steps:
        facts["ended_early"] = f"after {result.steps} of {options.training.steps} steps: its evaluations got no better"
    if losses := [f"{name} {result.metrics[name]:.3f}" for name in SHOWN if name in result.metrics]:
        facts["last_losses"] = ", ".join(losses)
    reporter.result(**facts, next=shlex.join(["icface", "evaluate", str(model), options.dataset]))


def dry_run(options: TrainJob, reporter: Reporter) -> None:
    """Show what a training would take, without starting it."""
    from orchestration.train.estimate import estimate
    from pipelines.dataset import Dataset

    found = estimate(options)
    counts = Dataset.open(options.dataset).meta["counts"]
    reporter.result(
        preset=options.preset,
        pictures=f"{options.training.model.size} px, {options.training.data.batch_size} pairs a step",
        frames=counts["frames"]["train"],
        identities=counts["identities"]["train"],
        **found.facts(),
    )


def resuming(options: TrainJob, name: str) -> str:
    """The command that goes on with a run."""
    words = ["icface", "train", "--resume", "--name", name]
    for flag, value, usual in (
        ("--storage", options.storage, TrainJob.storage),
        ("--address", options.address, TrainJob.address),
    ):
        words += [flag, value] if value != usual else []
    return shlex.join(words)


def progress_of(reporter: Reporter, steps: int, name: str = "training") -> OnProgress:
    """What shows a training's progress on `reporter`, under this name."""
    stage: str | None = None
    step: int | None = None
    noticed: set[str] = set()

    def show(progress: TrainingProgress) -> None:
        nonlocal stage, step
        if progress.notice and progress.notice not in noticed:
            noticed.add(progress.notice)
            reporter.say(progress.notice)
        if progress.stage and progress.stage != stage:
            stage = progress.stage
            reporter.say(stage)
        if progress.step is None or progress.step == step:
            return
        step = progress.step
        losses = {key: round(progress.metrics[key], 4) for key in SHOWN if key in progress.metrics}
        # A narrow terminal cuts the end off.
        parts = []
        if progress.images_per_second is not None:
            parts += [f"{duration(progress.seconds_left)} left", f"{progress.images_per_second:.0f} images/s"]
        if progress.checkpoint is not None:
            parts.append(f"checkpoint {progress.checkpoint}")
        text = ", ".join([*parts, *(f"{key} {value:.3f}" for key, value in losses.items())])
        facts = {key: value for key in FACTS if (value := getattr(progress, key)) is not None}
        reporter.progress(name, step, steps, text, **losses, **facts)

    return show


def correcting(told: "Forecast", reporter: Reporter, show: OnProgress) -> OnProgress:
    """`show`, which also says once, when steps were measured for a minute, that a forecast was far off."""
    first: float | None = None
    said = False

    def also(progress: TrainingProgress) -> None:
        nonlocal first, said
        show(progress)
        if said or not progress.starts:
            return
        now = time.monotonic()
        first = first or now
        if progress.step and progress.seconds_left is not None and now - first >= CORRECTED_AFTER:
            said = True
            if (line := told.corrected(progress.step, now - first, progress.seconds_left)) is not None:
                reporter.say(line)

    return also


def write_json(path: str, values: object) -> None:
    """Write a JSON file whole or not at all. Raises IcfaceError when it cannot be written."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(values, indent=2) + "\n")
    except OSError as error:
        raise IcfaceError(f"{path} cannot be written: {error.strerror or error}") from None
