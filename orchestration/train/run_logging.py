"""Logging into a training's run, and what becomes of the numbers that the tracking server did not take."""

import os
import tempfile
from pathlib import Path

from orchestration.tracking.run_logger import RunLogger
from orchestration.train.run_folder import UNSENT
from pipelines.storage import Folder


def open_logger(run_id: str, tracking_uri: str) -> RunLogger:
    """Logs into the run; what its server does not take is kept in a temporary file."""
    unsent = Path(tempfile.gettempdir()) / f"icface-unsent-{run_id}-{os.getpid()}.jsonl"
    return RunLogger(run_id, unsent, tracking_uri)


def close_logger(logger: RunLogger, folder: Folder) -> str | None:
    """Close the logger; what the server never took goes to the run's folder. Says so in words, or None."""
    logger.close()
    if not logger.lost and not logger.lost_pictures:
        return None
    lines = logger.unsent.read_bytes() if logger.lost else b""
    logger.unsent.unlink(missing_ok=True)
    kept = folder.read(UNSENT) if folder.exists(UNSENT) else b""
    if lines:
        folder.write(UNSENT, kept + lines)
    count = (kept + lines).count(b"\n")
    words = f"{count} numbers, kept in {folder.url}/{UNSENT}"
    if logger.lost_pictures:
        words += f", and {logger.lost_pictures} sample pictures"
    return words
