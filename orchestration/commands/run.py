"""`icface run WORKFLOW.yaml`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestration.commands import parse
from orchestration.terminal import Reporter


@dataclass(frozen=True, kw_only=True)
class Run:
    """Run a workflow file: preprocess, train, evaluate, compare, promote. Finished steps are skipped."""

    workflow: str
    """A YAML file with the fields model, preprocess, train and more. See docs/workflow.md."""
    again_from: Literal["train", "evaluate", "compare", "promote"] | None = None
    """Repeat this stage and all later ones, although nothing has changed."""


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
