"""What is installed, missing or out of reach here, and the command that mends it."""

import ctypes
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Literal

from icface.analyzers import registrations
from icface.errors import IcfaceError
from icface.weights import SET_UP, cache_folder, cached, unwritable
from icface.words import pip_install

PACKAGES = ("ray", "torch", "pyarrow", "opencv-contrib-python", "mediapipe", "mlflow", "fsspec", "decord", "av")
OPTIONAL = {"s3fs": pip_install("s3fs")}
"""Beside what analyzers ask for (`icface.analyzers.registry`)."""
LIBRARIES = {"libEGL.so.1": "libegl1", "libGLESv2.so.2": "libgles2", "libGL.so.1": "libgl1"}
LEAST_DISK_GB = 5

State = Literal["ok", "missing", "optional"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: State
    found: str
    mend: str = ""
    """The command that mends it."""


def examine() -> list[Finding]:
    """Look at everything that the commands need on this machine; nothing is changed."""
    return [finding for check in _CHECKS for finding in check()]


def fix() -> list[str]:
    """Mend what `examine` marks with `icface doctor --fix`; returns what was done, a sentence each."""
    from orchestration.tracking import local_store
    from orchestration.tracking.run_logger import sqlite_file, tracking_uri

    file = sqlite_file(tracking_uri())
    return local_store.fix(file) if file is not None else []


def examine_cluster(address: str, dataset: str | None, storage: str | None) -> list[Finding]:
    """Look at every node of the cluster at `address`, and at what a run on all of them would need.

    Raises IcfaceError when no cluster answers, there is no such data set, or this machine cannot write to `storage`.
    """
    import orchestration
    from orchestration.cluster.nodes import probe_nodes, problems
    from orchestration.cluster.versions import versions
    from orchestration.tracking.run_logger import tracking_uri
    from pipelines.cluster import connect
    from pipelines.dataset import Dataset

    sha256 = Dataset.open(dataset).hash if dataset else None
    with connect(address, packages=(orchestration,)):
        reports = probe_nodes(dataset, storage, tracking_uri())
    mine = versions()
    findings = [Finding(what="this machine", state="ok", found=", ".join(f"{k} {v}" for k, v in mine.items()))]
    for report in reports:
        bad = problems([report], mine, sha256)
        looked = [name for name, asked in (("data set", dataset), ("storage", storage)) if asked]
        gpus = f"GPU {', '.join(report.gpu_names)}" if report.gpu_names else "no GPU"
        text = f"{report.cores} cores, {gpus}, same versions, reaches {', '.join([*looked, 'tracking'])}"
        findings += [Finding(what=f"node {report.node}", state="missing", found=line) for line in bad]
        if not bad:
            findings.append(Finding(what=f"node {report.node}", state="ok", found=text))
    return findings


def _machine() -> Iterator[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    text = f"Python {platform.python_version()}, {os.cpu_count()} cores, {memory:.0f} GiB memory"
    yield Finding(what="machine", state="ok", found=text)
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    enough = free >= LEAST_DISK_GB
    mend = "" if enough else f"free {LEAST_DISK_GB} GB, or work in another folder"
    yield Finding(what="disk", state="ok" if enough else "missing", found=f"{free:.0f} GB free here", mend=mend)


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        yield _package(name, "missing", "make setup")
    for wanted in (OPTIONAL, *(known.packages for known in registrations().values())):
        for name, mend in wanted.items():
            yield _package(name, "optional", mend)
    wheels = sorted({d.metadata["Name"] for d in distributions() if str(d.metadata["Name"]).startswith("opencv-")})
    single = len(wheels) == 1
    yield Finding(
        what="cv2",
        state="ok" if single else "missing",
        found=f"from {', '.join(wheels) or 'no wheel'}",
        mend="" if single else "make setup (cv2 must come from opencv-contrib-python alone)",
    )


def _package(name: str, missing: State, mend: str) -> Finding:
    if name == "decord" and platform.machine() not in ("x86_64", "AMD64"):
        return Finding(what=name, state="ok", found="no wheel for this platform: PyAV reads the clips")
    try:
        return Finding(what=name, state="ok", found=version(name))
    except PackageNotFoundError:
        return Finding(what=name, state=missing, found="not installed", mend=mend)


def _libraries() -> Iterator[Finding]:
    for library, package in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            yield Finding(what=library, state="missing", found="not found", mend=f"sudo apt-get install {package}")
        else:
            yield Finding(what=library, state="ok", found="found")


def _weights() -> Iterator[Finding]:
    setting = "export ICFACE_CACHE=FOLDER (one that can be written), then " if unwritable(cache_folder()) else ""
    for file in SET_UP:
        path = cached(file)
        yield Finding(
            what=file.name,
            state="ok" if path else "missing",
            found=str(path) if path else f"not in {cache_folder()}",
            mend="" if path else f"{setting}python -m icface.weights",
        )


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        yield Finding(what="GPU", state="ok", found=names)
    else:
        yield Finding(what="GPU", state="optional", found="none that this torch sees: everything runs on the CPU")


def _tracking() -> Iterator[Finding]:
    from orchestration.tracking.local_store import EXPERIMENT
    from orchestration.tracking.run_logger import reason, restoring, sqlite_file, tracking_uri, use_tracking

    uri = tracking_uri()
    file = sqlite_file(uri)
    if file is not None:
        found = _sqlite_trouble(file)
        if found is not None:
            yield found
            return
        if not file.exists():
            yield Finding(what="MLflow", state="ok", found=f"{uri} (is made by the first run)")
            return
    import mlflow

    try:
        use_tracking(uri)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        found_experiment = mlflow.MlflowClient().get_experiment_by_name(EXPERIMENT)
    except (IcfaceError, mlflow.exceptions.MlflowException) as error:
        mend = "start the server, or correct MLFLOW_TRACKING_URI"
        line = reason(error)
        yield Finding(what="MLflow", state="missing", found=f"{uri}: {line}", mend="" if file else mend)
        return
    if found_experiment is not None and found_experiment.lifecycle_stage == "deleted":
        mend = restoring(found_experiment.experiment_id)
        yield Finding(what="MLflow", state="missing", found=f"the experiment {EXPERIMENT} was deleted", mend=mend)
    else:
        yield Finding(what="MLflow", state="ok", found=f"{uri} (exists)" if file else f"{uri} answers")


def _sqlite_trouble(file: Path) -> Finding | None:
    """What keeps a sqlite store from being used or made."""
    from orchestration.tracking import local_store

    try:
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        mend = "set MLFLOW_TRACKING_URI, or work in a folder that can be written"
        return Finding(what="MLflow", state="missing", found=f"{file.parent}: {error.strerror}", mend=mend)
    if (found := local_store.trouble(file)) is not None:
        return Finding(what="MLflow", state="missing", found=found.said, mend=found.mend)
    return None


_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (_machine, _packages, _libraries, _weights, _gpu, _tracking)
