"""A command as a Ray job: the same `icface COMMAND ...`, run on a cluster's head with this folder's code."""

import logging
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orchestration
from icface.errors import IcfaceError, first_line
from orchestration.cluster import job_environment, versions
from orchestration.cluster.submitted_command import gpus, prepared, stop_seconds
from orchestration.cluster.versions import COMMIT_VARIABLE

PASSED_ON = (
    *("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    *("MLFLOW_S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "FSSPEC_S3_ENDPOINT_URL", "GOOGLE_APPLICATION_CREDENTIALS"),
)
"""Variables that a job gets from here when they are set."""
REQUIREMENTS = "requirements.txt"
PACKAGES = ("icface", "pipelines", "orchestration")
CONFIGS = ("*.yaml", "*.yml", "pyproject.toml")
"""What travels of the working directory besides our packages: a data set or a run that lies there does not."""
ENTRY = "python -m orchestration"
"""What `icface` is called in a job."""
DONE = ("SUCCEEDED", "FAILED", "STOPPED")
POLL_SECONDS = 1.0
NO_AGENT = "No available agent"
AGENT_SECONDS = 180.0
"""How long a job waits for a head that was just started: its server answers before it can take jobs."""
PENDING_SECONDS = 30.0
"""Between two lines about a job that has no place yet."""
PATIENCE = 60.0
"""Seconds that a head may not answer before a job that was found is no longer followed or waited for."""
UNKNOWN = "status code 404"
"""In Ray's answer about a job that it does not know."""
STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
"""Ray's variable: seconds from the request to end until the job is killed. Ray's own 3 are no time for a checkpoint."""


class _Unreachable(IcfaceError):
    """Nothing that answers as a job server, for now."""


@dataclass(frozen=True)
class Job:
    """Where a job stands."""

    id: str
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    message: str = ""
    command: str = ""
    began: datetime | None = None
    """When it was submitted, in this machine's time zone."""
    seconds: float | None = None
    """From then to its end, or to now."""


def client(address: str) -> Any:
    """Ray's job client of the head at `address`, http://HOST:8265.

    Raises IcfaceError when nothing answers there, or it wants a token that this process does not have.
    """
    from ray.job_submission import JobSubmissionClient

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray.dashboard").setLevel(logging.WARNING)
    if not address.startswith(("http://", "https://")):
        raise IcfaceError(f"--address {address}: name the head's job server, as http://HEAD:8265")
    try:
        return JobSubmissionClient(address)
    except Exception as error:  # the client raises whatever its transport does
        raise _refused(address, error) from None


def submit(
    address: str, command: Sequence[str], environment: Mapping[str, str], requirements: str | None = None
) -> str:
    """Start `icface COMMAND ...` as a job; returns its id. `environment` is what the job gets besides.

    The working directory's code travels with it. What the project needs is installed on the nodes (ray_cluster.yaml
    does that). The packages of the file `requirements`, by default the working directory's requirements.txt, are
    installed for the job on top. The command joins the cluster that it runs on unless it names an `--address` itself.

    Raises IcfaceError as `prepared`, where no job server answers, and when the cluster refuses the job.
    """
    words = prepared(command, environment.get("MLFLOW_TRACKING_URI", ""))
    packages = _packages(requirements)
    server = client(address)
    with tempfile.TemporaryDirectory(prefix="icface-job-") as folder:
        code = _gather(Path(folder))
        known = {COMMIT_VARIABLE: commit} if (commit := versions.commit(code)) else {}
        job_environment.write(Path(folder), {**known, **environment})
        runtime: dict[str, Any] = {
            "working_dir": folder,
            "env_vars": {job_environment.VARIABLE: job_environment.FILE, STOP_WAIT: str(stop_seconds(words))},
            "worker_process_setup_hook": job_environment.LOAD,
        }
        if packages:
            runtime["pip"] = packages
        deadline = time.monotonic() + AGENT_SECONDS
        while True:
            try:
                return str(
                    server.submit_job(
                        entrypoint=f"{ENTRY} {shlex.join(words)}",
                        runtime_env=runtime,
                        metadata={"icface": words[0]},
                        entrypoint_num_gpus=gpus(words) or None,
                    )
                )
            except Exception as error:
                if NO_AGENT not in str(error) or time.monotonic() > deadline:
                    raise _refused(address, error) from None
                time.sleep(POLL_SECONDS)


def passed_on(names: Sequence[str] = ()) -> dict[str, str]:
    """The variables of this process that a job gets: `PASSED_ON` as far as they are set, and `names`.

    Raises IcfaceError when one of `names` is not set.
    """
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise IcfaceError(f"--env {missing[0]}: the variable is not set here")
    return {name: os.environ[name] for name in (*PASSED_ON, *names) if name in os.environ}


def state(address: str, job: str) -> Job:
    """Where a job stands. Raises IcfaceError for an unknown one."""
    return _job(job, _ask(address, job, lambda server: server.get_job_info(job)))


def _ask(address: str, job: str, question: Callable[[Any], Any]) -> Any:
    """The job server's answer about a job. Raises IcfaceError for an unknown one, and where nothing answers."""
    server = client(address)
    try:
        return question(server)
    except Exception as error:
        if UNKNOWN in str(error):
            raise IcfaceError(f"{address} knows no job {job}") from None
        raise _refused(address, error) from None


def _patiently(question: Callable[[], Any]) -> Any:
    """The answer to a question, asked again where the head cannot be reached for a moment."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return question()
        except _Unreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


def jobs(address: str) -> list[Job]:
    """The jobs that `icface submit` started on the cluster, the newest first."""
    found = client(address).list_jobs()
    ours = [job for job in found if job.submission_id and "icface" in (job.metadata or {})]
    return [_job(str(job.submission_id), job) for job in sorted(ours, key=lambda job: -(job.start_time or 0))]


def _job(name: str, details: Any) -> Job:
    began = details.start_time / 1000 if details.start_time else None
    ended = details.end_time / 1000 if details.end_time else time.time()
    return Job(
        id=name,
        status=str(details.status.value),
        message=details.message or "",
        command=details.entrypoint.replace(ENTRY, "icface", 1),
        began=datetime.fromtimestamp(began).astimezone() if began else None,
        seconds=max(0.0, ended - began) if began else None,
    )


def logs(address: str, job: str) -> str:
    """What a job has written so far. Raises IcfaceError for an unknown one."""
    return str(_ask(address, job, lambda server: server.get_job_logs(job)))


def stop(address: str, job: str) -> Job:
    """Ask a job to end and wait until it has: a training writes its checkpoint first."""
    _ask(address, job, lambda server: server.stop_job(job))
    while (found := _patiently(lambda: state(address, job))).status not in DONE:
        time.sleep(POLL_SECONDS)
    return found


def follow(address: str, job: str, write: Callable[[str], object], say: Callable[[str], object]) -> Job:
    """Pass the job's output on as it comes until it ends; returns how it ended.

    `say` is told every `PENDING_SECONDS` that the job still waits for a place. Raises IcfaceError for an unknown job,
    and where the head does not answer for `PATIENCE` seconds: the job goes on then.
    """
    told, began, waits = 0, time.monotonic(), 1
    while True:
        # Asked before the output, so that what comes last is not lost.
        found = _patiently(lambda: state(address, job))
        text = _patiently(lambda: logs(address, job))
        write(text[told:])
        told = len(text)
        if found.status in DONE:
            return found
        if found.status == "PENDING" and time.monotonic() - began > waits * PENDING_SECONDS:
            said = found.message.splitlines()
            say(f"{job} waits for a place{f': {said[0]}' if said else ''}")
            waits += 1
        time.sleep(POLL_SECONDS)


def _packages(requirements: str | None) -> list[str]:
    """Lines of a requirements file that name packages."""
    path = Path(requirements) if requirements else Path.cwd() / REQUIREMENTS
    try:
        lines = [line.split(" #")[0].strip() for line in path.read_text().splitlines()]
    except FileNotFoundError:
        if requirements is None:
            return []
        raise IcfaceError(f"--requirements {requirements} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise IcfaceError(f"--requirements {path} cannot be read: {first_line(error)}") from None
    return [line for line in lines if line and not line.startswith("#")]


def _gather(folder: Path) -> Path:
    """Copy what travels: our packages (the working directory's, else those that are imported here) and configs.

    Returns where the packages were.
    """
    here = Path.cwd()
    own = all((here / name / "__init__.py").exists() for name in PACKAGES)
    root = here if own else Path(orchestration.__file__).parents[1]
    for name in PACKAGES:
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for pattern in CONFIGS:
        for path in here.glob(pattern):
            shutil.copy(path, folder / path.name)
    return root


def _refused(address: str, error: Exception) -> IcfaceError:
    text = first_line(error)
    if any(word in text.lower() for word in ("token", "authenticat", "unauthorized", "401", "403")):
        return IcfaceError(
            f"{address} wants a token: export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=FILE with the head's token "
            "(on the head: ~/.ray/auth_token), here as there"
        )
    return _Unreachable(f"{address} does not answer as a Ray job server: {text}")
