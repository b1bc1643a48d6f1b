"""What the evaluations beside a training have found: `validation.json` in the run's folder."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from icface.errors import IcfaceError
from orchestration.selection import Selection
from pipelines.storage import Folder

FILE = "validation.json"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The scores of the averaged model after so many steps."""

    step: int
    scores: Mapping[str, float]
    """Metrics of `SELECTABLE`; those that say nothing are left out."""


@dataclass(frozen=True, kw_only=True)
class ValidationRecord:
    """All evaluations of a run, in the order of their steps."""

    conditions: str = ""
    """Equal strings: the same pairs, analyzer and protocol."""
    pairs: tuple[str, ...] = ()
    """Keys of the pairs, in order."""
    evaluations: tuple[Evaluation, ...] = ()
    kept: int | None = None
    """Step of the model that is kept; its bundle lies in the run's folder."""

    @classmethod
    def read(cls, folder: Folder) -> "ValidationRecord":
        """The record in a run's folder, an empty one where there is none. Raises IcfaceError when it is damaged."""
        try:
            values: dict[str, Any] = json.loads(folder.read(FILE))
            evaluations = tuple(Evaluation(**each) for each in values.pop("evaluations"))
            return cls(**{**values, "pairs": tuple(values["pairs"]), "evaluations": evaluations})
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError, KeyError) as error:
            raise IcfaceError(
                f"{folder.url}/{FILE} is damaged ({error}): remove it, and the evaluations begin anew"
            ) from None

    def write(self, folder: Folder) -> None:
        """Write it into the run's folder, whole or not at all."""
        folder.write(FILE, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @property
    def last(self) -> int:
        """Step of the last evaluation; 0 where there is none."""
        return self.evaluations[-1].step if self.evaluations else 0

    def score(self, step: int | None, metric: str) -> float | None:
        """A metric of the evaluation after that step; None where it is not known."""
        return next((each.scores.get(metric) for each in self.evaluations if each.step == step), None)

    def plus(self, evaluation: Evaluation, selection: Selection | None) -> "ValidationRecord":
        """With one more evaluation, whose model is kept if it is the best so far."""
        kept = self.kept
        if selection is not None:
            value = evaluation.scores.get(selection.metric)
            if selection.is_better(value, self.score(kept, selection.metric)):
                kept = evaluation.step
        return replace(self, evaluations=(*self.evaluations, evaluation), kept=kept)

    def without_better(self, selection: Selection) -> int:
        """How many evaluations in a row were not better than the kept one; those without the metric do not count."""
        return sum(selection.metric in each.scores for each in self.evaluations if each.step > (self.kept or 0))

    def is_over(self, selection: Selection | None, patience: int | None) -> bool:
        """Whether a training with this patience has come to its end."""
        return selection is not None and patience is not None and self.without_better(selection) >= patience
