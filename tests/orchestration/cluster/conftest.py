"""A Ray head of the tests' own, with its real job server."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ray_nodes import RAY
from support.servers import free_ports

from icface.errors import IcfaceError
from orchestration.cluster import submission

SECRET = "s3cr3t-of-the-test"


@pytest.fixture(scope="module")
def place() -> Path:
    """Ray's folder; its sockets want a short path."""
    return Path("/tmp") / f"icf{os.getpid()}"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, place: Path) -> Iterator[str]:
    """The address of a head's job server; the head wants a token, and this process has it (conftest.py)."""
    folder = tmp_path_factory.mktemp("head")
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("ICFACE_TEST_SECRET", SECRET)
    gcs, dashboard, agent, client, metrics = free_ports(5)
    command = [*RAY, "start", "--head", "--block"]
    command += ["--port", str(gcs), "--dashboard-port", str(dashboard), "--dashboard-agent-listen-port", str(agent)]
    command += ["--ray-client-server-port", str(client), "--metrics-export-port", str(metrics)]
    command += ["--num-cpus", "2", "--temp-dir", str(place), "--disable-usage-stats", "--dashboard-host", "127.0.0.1"]
    # A job's `python` is the one on the PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with (folder / "log").open("wb") as log:
        ray = subprocess.Popen(
            command, env={**os.environ, "PATH": path}, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        deadline = time.monotonic() + 400
        while True:
            try:
                submission.client(address).list_jobs()
                break
            except (IcfaceError, RuntimeError, OSError):
                assert ray.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(1)
        yield address
    finally:
        os.killpg(ray.pid, signal.SIGTERM)
        ray.wait(timeout=300)
        patch.undo()
        shutil.rmtree(place, ignore_errors=True)
