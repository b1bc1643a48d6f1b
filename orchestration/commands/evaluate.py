"""`icface evaluate MODEL DATASET`."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from orchestration.commands import parse
from orchestration.devices import device_asked
from orchestration.reporting import write_json
from orchestration.terminal import Reporter

if TYPE_CHECKING:
    from orchestration.registry.measurer import MeasurerChoice

EMBEDDED = 4
"""Frames of a track whose person is compared with the source's, unless all are."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a model on frames that it was not trained on, by self and cross reenactment."""

    model: str
    """starter, a bundle folder, a checkpoint as runs/NAME@STEP, runs:/ID/bundle, models:/NAME/VERSION or
    models:/NAME@ALIAS. With --predictions: the folder."""
    dataset: str
    """A data set. A path or fsspec URL."""
    benchmark: Literal["synthetic"] | None = None
    """Score control by action units on synthetic people, by exact truth. DATASET is the folder of the benchmark, which
    is made where it is not there. Docs: evaluation.md."""
    predictions: bool = False
    """Score a folder of pictures that are there already, by any method. Docs: evaluation.md."""
    json: str | None = None
    """Write the whole report to this JSON file."""
    html: str | None = None
    """Write a self-contained page: tables, curves, leakage, pictures of the worst and best pairs."""
    split: Literal["held_out", "val", "cross"] | None = None
    """Only these pairs: held-out frames of people in training, unseen people, or people driven by others."""
    analyzer: str | None = None
    """Measure with this analyzer only. Default: the one that labelled the data set, and dlib as a second opinion."""
    steps: int = 16
    """Neutral faces per split on which single attributes are stepped, for slope and leakage. 0 turns it off."""
    per_track: int = 50
    """Driving frames per track, evenly spread. Predictions bring their own list of pairs."""
    tracks: int | None = None
    """Maximum tracks per split, evenly spread."""
    all: bool = False
    """Show every metric, not only the most important ones."""
    identity: bool = False
    """Measure on every pair and step whether the output shows the source's person. Default: on four frames per track
    and a few steps, where extra `identity` is installed. 0.6 s per picture on a core."""
    workers: int | None = None
    """Processes that measure, by Ray. Default: this one."""
    address: str | None = None
    """Ray cluster that measures: local, auto or HOST. Every node must see the data set."""
    gpu: bool = False
    """Run the networks on the GPU, MediaPipe's too (`mediapipe-torch`)."""

    def __post_init__(self) -> None:
        for name in ("html", "address", "workers"):
            if self.predictions and getattr(self, name) is not None:
                raise ValueError(f"--{name} goes with a model, not with --predictions")
        if self.benchmark is not None:
            for name in ("split", "per_track", "tracks", "html", "address", "workers"):
                if getattr(self, name) != getattr(type(self), name):
                    raise ValueError(f"--benchmark has its own pairs and table: leave --{name.replace('_', '-')} out")
        if self.steps < 0:
            raise ValueError(f"steps must not be negative: {self.steps}")
        for name in ("per_track", "tracks", "workers"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def main(argv: Sequence[str]) -> None:
    options = parse(Evaluate, argv, "evaluate")
    from icface.evaluation.report import HEADLINE
    from icface.words import counted
    from orchestration.predictions import evaluate_predictions
    from orchestration.registry import evaluation_page
    from orchestration.registry.evaluation import evaluated
    from orchestration.registry.measurer import MeasurerChoice
    from pipelines.loading.evaluation_pairs import GROUPS

    # dlib is an optional package; without it there is one opinion, and nobody is told apart.
    dlib = find_spec("dlib") is not None
    every = 1 if options.identity else max(1, options.per_track // EMBEDDED) if dlib else None
    measuring = MeasurerChoice(
        analyzer=options.analyzer,
        second="dlib" if options.analyzer is None and dlib else None,
        embed_every=every,
        features=True,
        device=device_asked(options.gpu),
    )
    groups = (options.split,) if options.split else GROUPS
    with Reporter() as reporter:
        if options.benchmark is not None:
            _benchmark(options, measuring, reporter)
            return

        def told(done: int, total: int) -> None:
            reporter.progress("evaluating pairs", done, total)

        found = None
        if options.predictions:
            report, _ = evaluate_predictions(options.model, options.dataset, measuring, groups, told)
        else:
            found = evaluated(
                options.model,
                options.dataset,
                groups=groups,
                per_track=options.per_track,
                tracks=options.tracks,
                progress=told,
                measuring=measuring,
                stepped=options.steps,
                address=options.address,
                workers=options.workers,
            )
            report = found.report
            if found.pairs.left_out:
                tracks = counted(len(found.pairs.left_out), "track")
                reporter.say(f"{tracks} left out: even the most neutral frame is turned by 30 degrees or more")
        reporter.table("Evaluation", report.rows(None if options.all else HEADLINE), grouped=True)
        for sentence in report.disagreements():
            reporter.say(sentence)
        if options.json:
            write_json(options.json, report.to_json())
        if options.html and found is not None:
            evaluation_page.write(options.html, options.model, report, found.sheets())
        written = {name: path for name, path in (("json", options.json), ("html", options.html)) if path}
        if written:
            reporter.result(**written)


def _benchmark(options: Evaluate, measuring: "MeasurerChoice", reporter: Reporter) -> None:
    """Score on the benchmark, and show the table."""
    from orchestration.benchmark import benchmark_model, benchmark_predictions
    from orchestration.reporting import preprocessing_of

    def told(done: int, total: int) -> None:
        reporter.progress("evaluating pairs", done, total)

    if options.predictions:
        scores, report = benchmark_predictions(options.model, options.dataset, measuring, told)
    else:
        rendering = preprocessing_of(reporter)
        scores, report = benchmark_model(options.model, options.dataset, measuring, told, rendering)
    reporter.table("Control by exact truth", scores.rows())
    if options.json:
        write_json(options.json, {"benchmark": scores.to_json(), "report": report.to_json()})
    reporter.result(
        people=scores.people,
        **{name: None if value is None else round(value, 3) for name, value in scores.headline().items()},
        **({"json": options.json} if options.json else {}),
    )
