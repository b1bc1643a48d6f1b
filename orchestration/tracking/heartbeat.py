"""Whether the process that drives a run still lives, and setting right what MLflow says of one that died.

A driver that is killed cannot end its run in MLflow, where it would stay RUNNING for ever. So a run names its driver,
and the driver says now and then that it is there. Whoever looks at the run next can tell, and mends it.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from icface.errors import IcfaceError, first_line
from orchestration.tracking.local_store import EXPERIMENT
from orchestration.tracking.searching import found_by

DRIVER_TAG = "icface.driver"
SEEN_TAG = "icface.driver_seen"
ENDED_TAG = "icface.ended"
BEAT_SECONDS = 30.0
SILENCE_SECONDS = 300.0
"""A driver elsewhere that said nothing for so long is taken for dead."""


@dataclass(frozen=True)
class Driver:
    """A process, so that another one on the same machine can look whether it still runs."""

    host: str
    place: str
    """The running system and its process numbers: boot id and process namespace."""
    pid: int
    started: str
    """When the process began, in the kernel's clock: numbers are used again."""

    @classmethod
    def here(cls) -> "Driver":
        """This process."""
        return cls(host=socket.gethostname(), place=_place(), pid=os.getpid(), started=_started(os.getpid()) or "")

    def is_alive(self, seen: float, now: float) -> bool:
        """Whether it runs: certain on its own machine, elsewhere as long as it was `seen` (Unix time) lately."""
        if self.place and self.place == _place():
            return _started(self.pid) == self.started
        return now - seen < SILENCE_SECONDS


@contextmanager
def heartbeat(run_id: str) -> Iterator[None]:
    """This process drives the run while the block lasts, and says so."""
    client = mlflow.MlflowClient()
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            try:
                client.set_tag(run_id, SEEN_TAG, str(int(time.time())))
            except Exception:  # a server that is gone for a while stops nothing
                continue

    client.set_tag(run_id, SEEN_TAG, str(int(time.time())))
    client.set_tag(run_id, DRIVER_TAG, json.dumps(asdict(Driver.here())))
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def check_free(run_id: str) -> None:
    """Raise IcfaceError when another process drives the run at this moment."""
    try:
        run = mlflow.MlflowClient().get_run(run_id)
    except MlflowException as error:
        raise IcfaceError(f"the run {run_id} is not in {mlflow.get_tracking_uri()}: {first_line(error)}") from None
    driver = _driver(run.data.tags)
    if run.info.status != "RUNNING" or driver is None or driver == Driver.here():
        return
    if driver.is_alive(_seen(run.data.tags), time.time()):
        raise IcfaceError(
            f"this run is being trained by process {driver.pid} on {driver.host}: stop that one first (if it died "
            f"there, it is taken for dead after {SILENCE_SECONDS / 60:.0f} minutes)"
        )


def mark_dead_runs(experiment: str = EXPERIMENT) -> list[str]:
    """End the runs in MLflow whose driver died (status KILLED); returns their names.

    A tracking server that does not answer is left to whoever asks it for something.
    """
    client = mlflow.MlflowClient()
    marked = []
    try:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return []
        # All of them first: whoever is ended is no longer on a page that is asked for later.
        for run in list(found_by(client.search_runs, [found.experiment_id], "attributes.status = 'RUNNING'")):
            driver = _driver(run.data.tags)
            if driver is None or driver.is_alive(_seen(run.data.tags), time.time()):
                continue
            client.set_tag(run.info.run_id, ENDED_TAG, f"process {driver.pid} on {driver.host} died")
            client.set_terminated(run.info.run_id, "KILLED", end_time=int(_seen(run.data.tags) * 1000))
            marked.append(str(run.info.run_name))
    except MlflowException:
        return marked
    return marked


def _driver(tags: Mapping[str, str]) -> Driver | None:
    try:
        return Driver(**json.loads(tags[DRIVER_TAG]))
    except (KeyError, ValueError, TypeError):
        return None


def _seen(tags: Mapping[str, str]) -> float:
    try:
        return float(tags[SEEN_TAG])
    except (KeyError, ValueError):
        return 0.0


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux: the beat alone decides
        return ""


def _started(pid: int) -> str | None:
    """The kernel's start time of a process, or None when there is none of that number, or only its remains."""
    try:
        # The name in brackets may hold spaces; state is the first field after it, the start time the twentieth.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
