"""Joining a Ray cluster, or starting one for as long as a job takes."""

import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import icface
import pipelines
from icface.errors import IcfaceError, first_line
from icface.notices import without_notices
from pipelines.ray_start import waiting_for_node
from pipelines.storage import Folder

NAMESPACE = "icface"
START_SECONDS = (60.0, 120.0, 240.0)
"""How long Ray's node may take to start on this machine, at each try."""
NOTICES = (b"Set ray log level from environment variable RAY_BACKEND_LOG_LEVEL",)
"""What Ray prints at its start because of the level that `_quiet` sets."""
LONGEST_FOLDER = 36
"""Bytes of a folder's name in which Ray can make its sockets."""
_TOKEN_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@contextmanager
def connect(address: str = "local", workers: int | None = None, packages: tuple[Any, ...] = ()) -> Iterator[int]:
    """Be connected to Ray inside the block; yields how many processes with one core each fit, at most `workers`.

    `local` starts Ray on this machine and ends it afterwards, and `auto` joins the one that runs here. HOST or
    HOST:PORT joins a cluster, to which our packages (and `packages`) are sent. Where this process is connected already,
    that connection is used and left as it is. Raises IcfaceError when no cluster answers.
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
        options |= _short_folder()
    else:
        options |= {"address": _with_port(address), "runtime_env": {"py_modules": _modules(packages)}}
    _init(address, options)
    try:
        yield _cores(workers)
    finally:
        ray.shutdown()


def _init(address: str, options: dict[str, Any]) -> None:
    """Start or join Ray. Raises IcfaceError."""
    for seconds in START_SECONDS:
        try:
            with without_notices(NOTICES), waiting_for_node(seconds):
                ray.init(**options)
            return
        except Exception as error:  # Ray raises what it likes, a bare Exception included
            line = first_line(error)
            if seconds == START_SECONDS[-1] or "timed out during startup" not in line:
                raise IcfaceError(f"Ray at {address!r} cannot be reached or started: {line}") from None
            ray.shutdown()


def on_node(work: Any, node_id: str) -> Any:
    """`work`, a function or an actor's class, for that node alone; it needs no free core, and is not tried again."""
    again: dict[str, Any] = {"max_restarts": 0} if isinstance(work, type) else {"max_retries": 0}
    remote: Any = ray.remote(num_cpus=0, **again)(work)
    return remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False))


def check_every_node_sees(folder: Folder, file: str, what: str) -> None:
    """Refuse a local folder that is not the same on every node of the cluster: a run would be split among them.

    `file` in it must be there on each node, with the same contents. `what` names the folder in the sentence. Nothing
    happens where the cluster is one node. Raises IcfaceError naming the node.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if not folder.local or len(nodes) < 2:
        return
    expected = _contents(folder.path(file))
    for node in nodes:
        if ray.get(on_node(_contents, node["NodeID"]).remote(folder.path(file))) != expected:
            raise IcfaceError(
                f"{what} {folder.url} is not the same folder on the node {node['NodeManagerAddress']}: give a URL that "
                "every node sees, as in s3://BUCKET/..., or a folder that is mounted on all of them"
            )


def _contents(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def quiet_data() -> None:
    """Ray Data without progress bars and log lines: we show progress ourselves."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # What a task dies of is raised, and told in one line.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _quiet() -> None:
    # Usage statistics would be sent out, and announced; nothing here leaves the machine unasked.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without it every start warns of a change to come in how Ray hides GPUs from tasks without one.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's own patience with its head is 30 s, which a busy machine may need.
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "120")
    # Ray's C++ writes errors to our standard error. Ray Data passes references to its actors, so each job would show
    # a warning about that (https://github.com/ray-project/ray/issues/57733). To debug Ray: RAY_BACKEND_LOG_LEVEL=info.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")


def _short_folder() -> dict[str, str]:
    """A folder for Ray's sockets where the temporary folder's name is too long for them.

    A socket's path has at most 107 bytes, and Ray adds 69 to the folder. Raises IcfaceError where no short one is ours.
    """
    usual = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir()
    if len(os.fsencode(usual)) <= LONGEST_FOLDER:
        return {}
    short = Path(f"/tmp/ray-{os.getuid()}")
    try:
        short.mkdir(mode=0o700, exist_ok=True)
        if short.stat().st_uid == os.getuid():
            return {"_temp_dir": str(short)}
    except OSError:
        pass
    raise IcfaceError(
        f"the temporary folder {usual} has too long a name for Ray's sockets, and {short} cannot be used: "
        f"set RAY_TMPDIR to a folder of at most {LONGEST_FOLDER} letters"
    )


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
