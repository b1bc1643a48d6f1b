"""MLflow: where runs are recorded, and recording them without slowing the training or dying with the server."""

import json
import logging
import os
import queue
import re
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icface.errors import IcfaceError, first_line
from orchestration.tracking import credentials, local_store
from orchestration.tracking.local_store import ARTIFACTS, EXPERIMENT

DEFAULT_STORE = "mlflow.db"
METRICS_A_CALL = 1000
"""MLflow takes no more in one call."""
RETRY_SECONDS = 5.0
PATIENCE_SECONDS = 30.0
"""How long the end of a run waits for a server that does not answer, before numbers go to a file."""


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI without a password; by default a sqlite file in the working directory, absolute."""
    credentials.hide()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DEFAULT_STORE}"
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        uri = f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
    return uri


def sqlite_file(uri: str) -> Path | None:
    """The file of a sqlite address; None for a server's."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def use_tracking(uri: str | None = None) -> str:
    """Point MLflow of this process at the tracking server, without its chatter. Returns the URI.

    Raises IcfaceError for the file store, which MLflow no longer keeps registries in, and for an address without
    http://. So it does for a sqlite file that is locked, damaged, of another version of MLflow, or was moved.
    """
    uri = credentials.take(uri) if uri else tracking_uri()
    if re.match(r"[\w.-]+:\d+(/|$)", uri):
        raise IcfaceError(f"MLFLOW_TRACKING_URI={uri}: write http://{uri}")
    if uri.startswith("file:") or "://" not in uri:
        raise IcfaceError(f"MLFLOW_TRACKING_URI={uri}: MLflow refuses file stores; use sqlite:///mlflow.db or a server")
    # Bars of "Downloading artifacts" on standard error are not ours; what takes long has a progress of its own.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # The addresses that MLflow prints open the page of language models; ours open that of trainings.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # MLflow's own patience is 4 minutes a call; we ask again where it matters, and say so where it does not.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"mlflow\..*")
    if file := sqlite_file(uri):
        local_store.check_place(file)
    mlflow.set_tracking_uri(uri)
    if file and file.exists():
        try:
            mlflow.MlflowClient()  # opens the file, and compares its tables with what this MLflow expects
        except mlflow.exceptions.MlflowException as error:
            raise IcfaceError(f"the tracking store {uri} cannot be used: {reason(error)}") from None
    return uri


def experiment_id(name: str = EXPERIMENT) -> str:
    """The experiment of that name, made if it is not there; beside sqlite, artifacts lie in `mlartifacts`.

    Raises IcfaceError when the tracking server does not answer, and when the experiment was deleted.
    """
    import mlflow

    uri = mlflow.get_tracking_uri()
    try:
        client = mlflow.MlflowClient()
        found = client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            mend = restoring(found.experiment_id)
            raise IcfaceError(f"the experiment {name} in {uri} was deleted: {mend} restores it")
        if found is not None:
            return str(found.experiment_id)
        location = None
        if uri.startswith("sqlite:///"):
            location = (Path(uri.removeprefix("sqlite:///")).parent / ARTIFACTS).as_uri()
        return str(client.create_experiment(name, artifact_location=location))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise IcfaceError(f"the tracking server {uri} cannot be used: {reason(error)}") from None


def restoring(experiment: str) -> str:
    """The command that restores a deleted experiment."""
    import mlflow

    if mlflow.get_tracking_uri().startswith("sqlite:"):
        return "`icface doctor --fix`"
    return f"`mlflow experiments restore --experiment-id {experiment}`"


def reason(error: Exception) -> str:
    """One line of what MLflow says, with what mends it where that is known."""
    line = first_line(error)
    if found := re.search(r"out-of-date database schema \(found version (\w+)", line):
        return local_store.other_version(found[1], tracking_uri())
    return line


def check_reach(address: str) -> None:
    """Refuse tracking that only one node of a cluster would see. Raises IcfaceError."""
    if address == "local":
        return
    if tracking_uri().startswith("sqlite:"):
        raise IcfaceError(
            f"--address {address} with sqlite tracking: other nodes cannot see that file; set MLFLOW_TRACKING_URI to a "
            "server, as in http://HEAD:5000"
        )


_Metrics = list[tuple[str, float, int, int]]


@dataclass(frozen=True)
class _Picture:
    picture: np.ndarray
    step: int
    key: str


class RunLogger:
    """Records a run from one process, in the background. What the server never took ends in a local file."""

    def __init__(self, run_id: str, unsent: Path, uri: str | None = None) -> None:
        import mlflow

        use_tracking(uri)
        self.run_id = run_id
        self.unsent = unsent
        self.lost = 0
        """Numbers that went to `unsent`."""
        self.lost_pictures = 0
        self._client = mlflow.MlflowClient()
        self._queue: queue.Queue[_Metrics | _Picture | None] = queue.Queue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers of a step; returns at once."""
        now = int(time.time() * 1000)
        self._queue.put([(name, float(value), now, step) for name, value in values.items()])

    def picture(self, step: int, picture: np.ndarray, key: str = "samples") -> None:
        """Record a picture (H, W, 3) uint8 RGB of a step, so that MLflow's page has a slider; returns at once.

        Pictures that a server did not take when the run ends are counted in `lost_pictures`, and not kept.
        """
        self._queue.put(_Picture(picture, step, key))

    def close(self) -> None:
        """Wait until all is recorded, or until the server has had its chance."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join()

    def _send(self) -> None:
        deadline = None
        while (item := self._queue.get()) is not None:
            while True:
                try:
                    self._send_one(item)
                    break
                except Exception:
                    if self._closing.is_set():
                        deadline = deadline or time.monotonic() + PATIENCE_SECONDS
                        if time.monotonic() > deadline:
                            self._keep_all(item)
                            return
                    if self._closing.wait(RETRY_SECONDS):
                        time.sleep(min(RETRY_SECONDS, 1.0))

    def _send_one(self, item: "_Metrics | _Picture") -> None:
        from mlflow.entities import Metric

        if isinstance(item, _Picture):
            self._client.log_image(self.run_id, item.picture, key=item.key, step=item.step, synchronous=True)
        else:
            self._client.log_batch(self.run_id, metrics=[Metric(*number) for number in item])

    def _keep_all(self, item: "_Metrics | _Picture | None") -> None:
        """Keep what could not be sent, and all that waits behind it."""
        while item is not None:
            self._keep(item)
            item = self._queue.get()

    def _keep(self, batch: "_Metrics | _Picture") -> None:
        if isinstance(batch, _Picture):
            self.lost_pictures += 1
            return
        self.unsent.parent.mkdir(parents=True, exist_ok=True)
        with self.unsent.open("a") as stream:
            for name, value, timestamp, step in batch:
                stream.write(json.dumps({"name": name, "value": value, "timestamp": timestamp, "step": step}) + "\n")
        self.lost += len(batch)


def send_again(run_id: str, lines: bytes) -> None:
    """Record the numbers in the lines of a file that a `RunLogger` kept. Raises MlflowException."""
    import mlflow
    from mlflow.entities import Metric

    metrics = [json.loads(line) for line in lines.splitlines()]
    metrics = [Metric(item["name"], item["value"], item["timestamp"], item["step"]) for item in metrics]
    for first in range(0, len(metrics), METRICS_A_CALL):
        mlflow.MlflowClient().log_batch(run_id, metrics=metrics[first : first + METRICS_A_CALL])


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as `a.b` names.

    >>> flat({"model": {"size": 64}, "steps": 3})
    {'model.size': 64, 'steps': 3}
    """
    result: dict[str, Any] = {}
    for name, value in values.items():
        result |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return result
