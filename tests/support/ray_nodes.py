"""Nodes of Ray that tests start themselves: each is waited for as long as a busy machine needs."""

import sys
from contextlib import AbstractContextManager

from pipelines.ray_start import waiting_for_node

SECONDS = 300.0
RAY = [
    sys.executable,
    "-c",
    "from ray.scripts.scripts import main; from pipelines.ray_start import waiting_for_node\n"
    f"with waiting_for_node({SECONDS}): main()",
]
"""Ray's command line."""


def patient() -> AbstractContextManager[None]:
    """Inside the block nodes may take that long to start."""
    return waiting_for_node(SECONDS)
