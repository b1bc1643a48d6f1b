"""A run's folder: `storage/name`, with `run.json`, Ray Train's checkpoints and, at the end, the bundle."""

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from icface.errors import IcfaceError
from icface.training.config import FREE, current_names
from pipelines.storage import Folder

NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What the name of a run has to match."""
RUN = "run.json"
BUNDLE = "bundle"
EVALUATING = ("evaluate_every", "keep", "patience")
TAKEN_AGAIN = ("mixed_with", "preset", "workers", "gpu", "ingest", "cache", "cache_gib", "register", *EVALUATING)
"""Fields of `TrainJob` that a run's record keeps: `--resume` alone takes them as they were."""
UNSENT = "unsent.jsonl"
"""Numbers that the tracking server did not take; the next start of the run sends them."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What decides a run, and where it is recorded."""

    config: dict[str, Any]
    """The resolved `TrainConfig`."""
    dataset: str
    dataset_hash: str
    mlflow_run_id: str
    init_from: str | None = None
    """The model that the training began with, by a name that does not move on."""
    job: dict[str, Any] = field(default_factory=dict)
    """Options of `TrainJob` that the run was last started with: what `--resume` alone takes again."""

    def write(self, folder: Folder) -> None:
        """Write it into the run's folder, whole or not at all."""
        folder.write(RUN, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def read(cls, folder: Folder) -> "RunRecord | None":
        """The record in a run's folder, or None when there is no run yet. Raises IcfaceError when it is damaged."""
        try:
            return cls(**json.loads(folder.read(RUN)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise IcfaceError(f"{folder.url}/{RUN} is damaged ({error}); start under another --name") from None

    def check_same(self, config: dict[str, Any], dataset_hash: str, init_from: str | None) -> list[str]:
        """What a resumed run changes and may: more steps, and what touches no weight.

        Raises IcfaceError naming what it must not change.
        """
        from orchestration.tracking.run_logger import flat

        old, new = flat(current_names(self.config)[0]), flat(config)
        differs = {name: f"{name} {old.get(name)} -> {new[name]}" for name in new if old.get(name) != new[name]}
        if "steps" in differs and new["steps"] < old["steps"]:
            raise IcfaceError(
                f"--resume with --steps {new['steps']}: the run has {old['steps']} and can only be made longer; "
                "choose another --name"
            )
        free = [words for name, words in differs.items() if name in (*FREE, "steps")]
        changed = [words for name, words in differs.items() if name not in (*FREE, "steps")]
        if dataset_hash != self.dataset_hash:
            changed.append("the data set's contents")
        if init_from != self.init_from:
            changed.append(f"init_from {self.init_from} -> {init_from}")
        if changed:
            raise IcfaceError(f"--resume would change {', '.join(changed)}; resume as it was, or choose another --name")
        return free


def run_folder(storage: str, name: str) -> Folder:
    """The folder of a run. Raises IcfaceError for a name that is not a plain file name."""
    if not re.fullmatch(NAME, name):
        raise IcfaceError(f"--name {name!r}: use letters, digits, '.', '_' and '-', at most 100")
    base = Folder.at(storage)
    return Folder.at(f"{base.absolute.rstrip('/')}/{name}")
