"""A start of Ray on this machine that waits as long as its node needs, on a machine that is busy with other things."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray._private.services as services

PAUSE_SECONDS = 0.2
"""Between two questions whether the node is there."""


@contextmanager
def waiting_for_node(seconds: float) -> Iterator[None]:
    """Inside the block Ray's start waits up to `seconds` for its node, as long as the node's process lives.

    Ray gives the node 30 s, a constant inside `ray._private.node.Node`. A node that is starved needs more: it waits for
    two Python programs of its own. A start that is given up is begun again, and needs as long.
    """
    asked: Callable[..., Any] = services.get_node

    def get_node(*arguments: Any, **options: Any) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                return asked(*arguments, **options)
            except RuntimeError:  # it has not said yet that it is there
                if time.monotonic() > deadline or "raylet" not in children():
                    raise
                time.sleep(PAUSE_SECONDS)

    services.get_node = get_node
    try:
        yield
    finally:
        services.get_node = asked


def children() -> set[str]:
    """Names of the processes that this one has started and that still run; empty where there is no /proc."""
    names = set()
    for task in Path("/proc/self/task").glob("*/children"):
        for process in _text(task).split():
            name, _, rest = _text(Path("/proc", process, "stat")).partition("(")[2].rpartition(")")
            if rest.split()[:1] != ["Z"]:  # ended, and nobody has waited for it
                names.add(name)
    return names - {""}


def _text(path: Path) -> str:
    try:
        return os.fsdecode(path.read_bytes())
    except OSError:  # it has ended meanwhile
        return ""
