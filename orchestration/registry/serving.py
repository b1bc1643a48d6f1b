"""`icface models serve`: a model behind HTTP, by the protocol that `mlflow models serve` speaks."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mlflow

import orchestration
from icface.bundle import load_bundle
from icface.errors import IcfaceError
from orchestration.registry.references import resolve
from orchestration.registry.scoring import FOLDER
from orchestration.registry.versions import pyfunc_options

STOP_SECONDS = 20
KILL_SECONDS = 5


def serve(model: str, host: str, port: int, workers: int) -> None:
    """Answer `POST /invocations` until interrupted; see `orchestration.registry.served_model` for the table.

    Raises IcfaceError when there is no such model or the server ends by itself.
    """
    _check_port(host, port)
    reference = resolve(model)
    with tempfile.TemporaryDirectory(prefix="icface-served-") as scratch:
        folder = reference.folder
        if not (folder / "MLmodel").exists():
            load_bundle(folder)
            mlflow.pyfunc.save_model(path=str(Path(scratch) / "model"), **pyfunc_options(folder))
            folder = Path(scratch) / "model"
        command = [sys.executable, "-m", "uvicorn", "--factory", "orchestration.registry.scoring:app"]
        command += ["--app-dir", str(Path(orchestration.__file__).parents[1]), "--log-level", "warning"]
        command += ["--host", host, "--port", str(port), "--workers", str(workers)]
        # Whoever supervises a server ends it by SIGTERM; its processes must not outlive it then either.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        server = subprocess.Popen(command, env=_environment(folder), start_new_session=True)
        try:
            status = server.wait()
        finally:
            _end(server)
    raise IcfaceError(f"the server ended with status {status}")


def _check_port(host: str, port: int) -> None:
    """Raises IcfaceError when nothing can listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: a port whose last connections are still fading is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        line = error.strerror or str(error)
        raise IcfaceError(f"{host}:{port} cannot be served at: {line}; choose another --port") from None


def _environment(folder: Path) -> dict[str, str]:
    quiet = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    return {**quiet, **os.environ, FOLDER: str(folder)}


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End the server and its workers, by their process group, and wait until all are gone.

    Where process 1 does not collect dead processes, as in many containers, they stay in the group: what was sent
    SIGKILL is gone all the same.
    """
    deadline = time.monotonic() + STOP_SECONDS
    how = signal.SIGTERM
    while time.monotonic() < deadline + KILL_SECONDS:
        try:
            os.killpg(server.pid, how)
        except ProcessLookupError:
            return
        time.sleep(0.1)
        server.poll()
        how = signal.SIGKILL if time.monotonic() > deadline else signal.Signals(signal.SIGCONT)
