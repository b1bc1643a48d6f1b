"""Evaluating the model of a training while it goes on: an actor of its own, which shares nothing with the ranks."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from icface.bundle import load_bundle
from icface.errors import IcfaceError
from icface.evaluation.measuring import measure
from icface.evaluation.reenact import Conditions, make_report
from icface.evaluation.rendering import ModelRenderer
from icface.evaluation.report import HEADLINE, Report
from orchestration.registry.evaluation import PairChoice
from orchestration.registry.measurer import MeasurerChoice
from orchestration.selection import SELECTABLE
from orchestration.train.stored_bundles import local_bundle
from pipelines.storage import Folder

TRACKS, PER_TRACK = 16, 8
"""At most so many tracks, and driving frames of each."""
NICE = 10
"""The evaluator's processes give way to those that train."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What an evaluation found."""

    scores: Mapping[str, float]
    """Metrics of `SELECTABLE`."""
    curves: Mapping[str, float]
    """Metrics under the names that MLflow shows, as `validation/val/face_l1`."""
    conditions: str
    pairs: tuple[str, ...]
    """Keys of the pairs, in order."""


def validation_pairs(dataset: str) -> PairChoice:
    """The pairs of the data set that its trainings are evaluated on, always the same ones.

    They are of people who are not trained on; where there are none, of held-out frames. Raises IcfaceError when the
    data set has neither.
    """
    problem: IcfaceError | None = None
    for group in ("val", "held_out"):
        choice = PairChoice(dataset=dataset, groups=(group,), per_track=PER_TRACK, tracks=TRACKS)
        try:
            choice.open()
        except IcfaceError as error:
            problem = error
        else:
            return choice
    raise IcfaceError(f"--evaluate-every has nothing to evaluate on: {problem}")


class Evaluator:
    """A Ray actor that scores bundles; nothing is kept between two of them, so that their order does not matter."""

    def __init__(self, choice: PairChoice) -> None:
        import torch

        os.nice(NICE)
        torch.set_num_threads(1)
        self.choice = choice

    def evaluate(self, run: str, bundle: str) -> Found:
        """Score a bundle in the folder of a run. Raises IcfaceError as `icface evaluate` does."""
        with local_bundle(Folder.at(run), bundle) as path:
            model = load_bundle(path)
        data, pairs = self.choice.open(model.schema.sided)
        renderer = ModelRenderer(model)
        with MeasurerChoice().for_data(data, model.schema.sided).opened() as measurer:
            report = make_report(Conditions.of(renderer, pairs, measurer), measure(renderer, pairs, measurer))
        return found_in(report)


def found_in(report: Report) -> Found:
    """What is kept of a report of one group of pairs."""
    (group,) = report.groups.values()
    scores = group.scores["model"]
    shown = {report.shown(name) for name in (*SELECTABLE, *HEADLINE)}
    return Found(
        scores={name: value for name in SELECTABLE if (value := scores.get(name)) is not None},
        curves={
            f"validation/{name}": value for name, value in report.metrics().items() if name.partition("/")[2] in shown
        },
        conditions=report.comparable,
        pairs=tuple(group.keys),
    )
