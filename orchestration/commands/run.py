"""`icface run WORKFLOW.yaml`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestration.commands import parse
from orchestration.terminal import Reporter


@dataclass(frozen=True, kw_only=True)
class Run:
    """Preprocess, train, evaluate, compare and promote as a file says; what is done already is skipped."""

    workflow: str
    """A YAML file with the fields model, preprocess, train and more (docs/workflow.md)."""
    again_from: Literal["train", "evaluate", "compare", "promote"] | None = None
    """Do this stage and all after it again, although nothing has changed."""


def main(argv: Sequence[str]) -> None:
    options = parse(Run, argv, "run")
    from orchestration.workflow import run

    with Reporter() as reporter:
        outcome = run(
            options.workflow, lambda step, words: reporter.say(f"{step}: {words}", step=step), options.again_from
        )
        reporter.result(
            versions=", ".join(f"{name}: {version}" for name, version in outcome.versions.items()),
            best=outcome.best,
            promoted=outcome.promoted,
            done=", ".join(outcome.done) or "nothing: all was done already",
        )
