"""Variables of a submitted job, keys of the storage among them, without their values in any log.

Ray writes a job's `env_vars` into its nodes' logs. So `icface submit` writes what it passes on into a file of the job's
working directory. Every process of the job reads it first.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "ICFACE_JOB_ENVIRONMENT"
"""Names the file, relative to the job's working directory; Ray may log it."""
FILE = "job_environment.json"
LOAD = "orchestration.cluster.job_environment.load"
"""For Ray's `worker_process_setup_hook`."""


def write(folder: Path, variables: Mapping[str, str]) -> None:
    """Put the variables into a job's working directory."""
    path = folder / FILE
    path.touch(0o600)
    path.write_text(json.dumps(dict(variables)))


def load() -> None:
    """Set the variables of the job that this process belongs to; does nothing outside such a job."""
    name = os.environ.get(VARIABLE)
    if name:
        os.environ.update(json.loads(Path(name).read_text()))


def is_job() -> bool:
    """Whether this process belongs to a submitted job."""
    return VARIABLE in os.environ


def without_own_folder(sentence: str) -> str:
    """A sentence about a path in the working folder of a job, which nobody knows, as its user wrote the path."""
    folder = f"{Path.cwd()}/"
    if not is_job() or folder not in sentence:
        return sentence
    return (
        f"{sentence.replace(folder, '')} (a job's own folder on the cluster holds code alone: give a path that the "
        "cluster sees)"
    )
