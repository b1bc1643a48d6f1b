"""Joining a Ray cluster, or starting one for as long as a job takes."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

import icface
import pipelines
from icface.errors import IcfaceError

NAMESPACE = "icface"
_TOKEN_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@contextmanager
def connect(address: str = "local", workers: int | None = None, packages: tuple[Any, ...] = ()) -> Iterator[int]:
    """Be connected to Ray inside the block; yields how many processes with one core each fit, at most `workers`.

    `local` starts Ray on this machine and ends it afterwards; `auto` joins the one that runs here; HOST or HOST:PORT
    joins a cluster, to which our packages (and `packages`) are sent. Where this process is connected already, that
    connection is used and left as it is. Raises IcfaceError when no cluster answers.
    """
    if ray.is_initialized():
        yield _cores(workers)
        return
    _quiet()
    options: dict[str, Any] = {
        "namespace": NAMESPACE,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    if address == "local":
        _own_token()
        options |= {"address": "local", "num_cpus": max(workers or 1, os.cpu_count() or 1)}
        options["include_dashboard"] = False
    else:
        options |= {"address": _with_port(address), "runtime_env": {"py_modules": _modules(packages)}}
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise IcfaceError(f"Ray at {address!r} cannot be reached or started: {str(error).splitlines()[0]}") from None
    try:
        yield _cores(workers)
    finally:
        ray.shutdown()


def quiet_data() -> None:
    """Ray Data without progress bars and log lines: we show progress ourselves."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _quiet() -> None:
    # Usage statistics would be sent out, and announced; nothing here leaves the machine unasked.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without it every start warns of a change to come in how Ray hides GPUs from tasks without one.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def _own_token() -> None:
    """Give the Ray that is about to be started a token of its own, for as long as this process lives.

    Left alone, Ray writes one to the home folder, where clusters that were started without one trip over it.
    """
    if not any(name in os.environ for name in _TOKEN_VARIABLES):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _cores(workers: int | None) -> int:
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    return min(workers or cores, cores)


def _with_port(address: str) -> str:
    return address if address == "auto" or ":" in address else f"{address}:6379"


def _modules(packages: tuple[Any, ...]) -> list[str]:
    return [str(Path(package.__file__).parent) for package in (icface, pipelines, *packages)]
