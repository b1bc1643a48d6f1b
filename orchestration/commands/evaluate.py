"""`icface evaluate MODEL DATASET`."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from orchestration.commands import parse
from orchestration.devices import device_asked
from orchestration.reporting import write_json
from orchestration.terminal import Reporter


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a model on frames that it was not trained on, by self and cross reenactment."""

    model: str
    """A bundle folder, runs:/ID/bundle, models:/NAME/VERSION or models:/NAME@ALIAS."""
    dataset: str
    """A data set. A path or fsspec URL."""
    json: str | None = None
    """Write the whole report to this JSON file."""
    split: Literal["held_out", "val", "cross"] | None = None
    """Only these pairs: held-out frames of people in training, unseen people, or people driven by others."""
    analyzer: str | None = None
    """Measure with this analyzer only. Default: the one that labelled the data set, and dlib as a second opinion."""
    steps: int = 16
    """Neutral faces per split on which single attributes are stepped, for slope and leakage. 0 turns it off."""
    per_track: int = 50
    """Driving frames per track, evenly spread."""
    tracks: int | None = None
    """Maximum tracks per split, evenly spread."""
    all: bool = False
    """Show every metric, not only the most important ones."""
    identity: bool = False
    """Also measure whether the output shows the source's person. Needs extra `identity`; 0.6 s per pair on a core."""
    gpu: bool = False
    """Run the networks on the GPU, MediaPipe's too (`mediapipe-torch`)."""

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps must not be negative: {self.steps}")
        for name in ("per_track", "tracks"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


def main(argv: Sequence[str]) -> None:
    options = parse(Evaluate, argv, "evaluate")
    from icface.evaluation.report import HEADLINE
    from orchestration.registry.evaluation import evaluate_model
    from pipelines.loading.evaluation_pairs import GROUPS

    device = device_asked(options.gpu)
    # dlib is an optional package; without it there is one opinion.
    second = "dlib" if options.analyzer is None and find_spec("dlib") else None
    with Reporter() as reporter:
        report = evaluate_model(
            options.model,
            options.dataset,
            groups=(options.split,) if options.split else GROUPS,
            per_track=options.per_track,
            tracks=options.tracks,
            device=device,
            identity=options.identity,
            progress=lambda done, total: reporter.progress("evaluating pairs", done, total),
            analyzer=options.analyzer,
            second=second,
            stepped=options.steps,
        )
        reporter.table("Evaluation", report.rows(None if options.all else HEADLINE))
        for sentence in report.disagreements():
            reporter.say(sentence)
        if options.json:
            write_json(options.json, report.to_json())
            reporter.result(json=options.json)
