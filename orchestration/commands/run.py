"""`icface run WORKFLOW.yaml`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestration.commands import parse
from orchestration.terminal import Reporter, duration


@dataclass(frozen=True, kw_only=True)
class Run:
    """Run a workflow file: preprocess, train, evaluate, compare, promote. Finished steps are skipped."""

    workflow: str
    """A YAML file with the fields model, preprocess, train and more. See docs/workflow.md."""
    again_from: Literal["train", "evaluate", "compare", "promote"] | None = None
    """Repeat this stage and all later ones, although nothing has changed."""
    dry_run: bool = False
    """Show what would be done and what would be skipped. Writes nothing."""


def main(argv: Sequence[str]) -> None:
    options = parse(Run, argv, "run")
    from orchestration.workflow import plan, run

    with Reporter() as reporter:
        if options.dry_run:
            reporter.table("Steps", [("step", "what becomes of it"), *plan(options.workflow, options.again_from)])
            return
        begun = time.monotonic()
        outcome = run(
            options.workflow,
            lambda step, words: reporter.say(f"{step}: {words}", step=step),
            options.again_from,
            reporter,
        )
        reporter.result(
            versions=", ".join(f"{name}: {version}" for name, version in outcome.versions.items()),
            best=outcome.best,
            promoted=outcome.promoted,
            done=", ".join(outcome.done) or "nothing: all was done already",
            time_taken=duration(time.monotonic() - begun),
            next=f"icface animate models:/{outcome.model}/{outcome.versions[outcome.best]} PORTRAIT --drive VIDEO",
        )
