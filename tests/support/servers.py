"""Servers that tests start: a free port, and the wait until somebody answers there."""

import socket
import subprocess
import time
import urllib.request
from pathlib import Path


def free_port() -> int:
    """A port of this machine where nobody listens."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different ones."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for_answer(url: str, process: subprocess.Popen, seconds: float, log: Path | None = None) -> None:
    """Wait until `url` answers; fails when the process ends first or `seconds` pass, with what `log` says."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            said = log.read_text() if log is not None else ""
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.5)
