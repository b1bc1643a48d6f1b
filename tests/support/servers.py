"""Servers that tests start: a free port, and the wait until somebody answers there."""

import random
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

LOWEST = 20_000
"""Ray gives the ports below to its workers."""


def free_port() -> int:
    """A port of this machine where nobody listens."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different ones, where the kernel puts nobody who does not ask for them by number.

    A port that the kernel chose is free again once it is closed, and may be given to any connection before the server
    listens there.
    """
    first_of_kernel = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    drawn = random.SystemRandom()  # tests are seeded: each would draw the ports of the one before
    found: list[int] = []
    while len(found) < count:
        port = drawn.randrange(LOWEST, max(first_of_kernel, LOWEST + 1000))
        with socket.socket() as tried:
            try:
                tried.bind(("", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


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
