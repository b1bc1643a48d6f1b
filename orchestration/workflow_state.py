"""What the steps of a workflow were made from and led to, and where their models are."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from icface.errors import IcfaceError

SQLITE = "sqlite:///"
TRACKING = "tracking"
"""Under which the tracking server that has the results is kept."""
Tell = Callable[[str, str], None]
"""Told the step and what becomes of it, in words."""


class State:
    """What each step was made from and led to, in `WORKFLOW.state.json` beside the file."""

    def __init__(self, workflow: Path) -> None:
        from pipelines.storage import Folder

        self.file = workflow
        self.place = workflow.absolute().parent
        self.writes = True
        """Whether what changes is written down; a plan changes nothing."""
        self._folder = Folder.at(self.place)
        self._name = f"{workflow.stem}.state.json"
        try:
            self._steps: dict[str, Any] = json.loads(self._folder.read(self._name))
        except FileNotFoundError:
            self._steps = {}
        except ValueError:
            raise IcfaceError(
                f"{workflow.with_suffix('.state.json')} is damaged: remove it, and all is done again"
            ) from None

    def join_tracking(self, train_again: bool, tell: Tell) -> None:
        """Use the tracking server that has the results of this file, and keep which one it is.

        Raises IcfaceError when MLFLOW_TRACKING_URI names another one, unless all trainings are done again.
        """
        from orchestration.tracking.run_logger import tracking_uri, use_tracking

        kept = self._steps.get(TRACKING)
        before = None if kept is None else self._whole(str(kept["result"]))
        unset = not os.environ.get("MLFLOW_TRACKING_URI")
        if before is not None and before != tracking_uri() and unset and not train_again and is_there(before):
            tell(TRACKING, f"{before}, which has the results of this file")
            os.environ["MLFLOW_TRACKING_URI"] = before
        uri = use_tracking()
        if before is not None and before != uri and not train_again:
            raise IcfaceError(
                f"the results of {self.file} are in {before}, and MLflow is {uri} now: "
                f"export MLFLOW_TRACKING_URI={before}, or train all again into this one with --again-from train"
            )
        self.keep(TRACKING, "", self._stated(uri))

    def _stated(self, uri: str) -> str:
        """A server as it is kept: a sqlite file below this folder by its relative path, since both may be moved."""
        path = Path(uri.removeprefix(SQLITE))
        if uri.startswith(SQLITE) and path.is_relative_to(self.place):
            return f"{SQLITE}{path.relative_to(self.place)}"
        return uri

    def _whole(self, stated: str) -> str:
        return f"{SQLITE}{self.place / stated.removeprefix(SQLITE)}" if stated.startswith(SQLITE) else stated

    def known(self, step: str, inputs: str) -> Any:
        """What the step led to with these inputs, or None."""
        kept = self._steps.get(step)
        return kept["result"] if kept and kept["inputs"] == inputs else None

    def forget(self, stages: Sequence[str]) -> None:
        """Steps of these kinds are to be done again. A training that is there under its name is another one then."""
        for step in list(self._steps):
            stage = step.split(" ")[0]
            if stage in stages:
                round_number = self._steps[step].get("round", 0) + 1
                self._steps[step] = {"inputs": None, "result": None, "round": round_number}
        self._write()

    def round(self, step: str) -> int:
        """How often the step was asked for again."""
        return int(self._steps.get(step, {}).get("round", 0))

    def keep(self, step: str, inputs: str, result: Any) -> None:
        """Remember what a step made of these inputs."""
        self._steps[step] = {"inputs": inputs, "result": result, "round": self.round(step)}
        self._write()

    def _write(self) -> None:
        if not self.writes:
            return
        self._folder.write(self._name, (json.dumps(self._steps, indent=1, sort_keys=True) + "\n").encode())


def is_there(uri: str) -> bool:
    """Whether a tracking server can be asked: a sqlite file that is gone cannot."""
    return not uri.startswith(SQLITE) or Path(uri.removeprefix(SQLITE)).exists()
