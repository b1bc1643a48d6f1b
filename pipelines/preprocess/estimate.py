"""What a whole job will take, from a look at a few of its clips (`--dry-run`). Nothing is written to the data set."""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from icface.errors import IcfaceError
from icface.spread import evenly
from pipelines.config import PreprocessConfig
from pipelines.preprocess.clip_frames import ClipFrames
from pipelines.preprocess.clip_worker import ClipWorker
from pipelines.sources import Clip, ClipFiles, list_clips, read_span
from pipelines.storage import Folder

PROBED = 20
"""Clips whose headers are read, evenly spread."""
ANALYSED = 3
"""Of these, the clips that are analysed, for the rate and the size of a row."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A guess from a few clips."""

    clips: int
    identities: int
    source_gb: float
    """Size of all clips."""
    frames: float
    """Frames to be analysed."""
    dataset_gb: float
    core_hours: float
    frames_per_second: float
    """Of one core, on this machine, with the analyzer asked for."""
    unreadable: int
    """Of the probed clips, those whose header could not be read."""
    probed: int


def estimate(config: PreprocessConfig) -> Estimate:
    """Look at the source. Raises IcfaceError when there are no clips, or none of those looked at can be analysed."""
    source = Folder.at(config.source)
    clips = list_clips(source, config.selection.layout)[: config.selection.limit]
    chosen = evenly(clips, PROBED)
    frames, good = [], []
    files = ClipFiles(source)
    with tempfile.TemporaryDirectory(prefix="icface-") as scratch:
        for clip in chosen:
            try:
                path = files.path(clip, Path(scratch))
                frames.append(ClipFrames(path, read_span(files.folder, clip)).info.frames / config.selection.every)
                good.append(clip)
            except (IcfaceError, OSError):
                continue
        if not good:
            raise IcfaceError(
                f"none of the {len(chosen)} clips looked at can be read; is {config.source} a clip folder?"
            )
        seconds, read, stored = _analysed(
            replace(config, source=source.absolute), evenly(good, ANALYSED), Path(scratch)
        )
    total = sum(frames) / len(chosen) * len(clips)
    return Estimate(
        clips=len(clips),
        identities=len({clip.identity for clip in clips}),
        source_gb=sum(clip.size for clip in clips) / 1e9,
        frames=total,
        dataset_gb=total * stored / max(read, 1) / 1e9,
        core_hours=total * seconds / max(read, 1) / 3600,
        frames_per_second=read / seconds,
        unreadable=len(chosen) - len(good),
        probed=len(chosen),
    )


def _analysed(config: PreprocessConfig, clips: list[Clip], scratch: Path) -> tuple[float, int, int]:
    """Seconds of a core, frames read and bytes written for some clips, by the job's own process."""
    worker = ClipWorker(config)
    try:
        worker.start()
        started, read, stored = time.monotonic(), 0, 0
        reasons: set[str] = set()
        for clip in clips:
            out = scratch / "clip.arrow"
            row, _ = worker.rows(clip, "train", out)
            read += row["frames_read"]
            if row["status"] == "ok":
                stored += out.stat().st_size
                out.unlink()
            else:
                reasons.add(str(row["reason"]))
        # A core that also does other work tells nothing by the clock; one that waits for a GPU, nothing by CPU time.
        seconds = time.monotonic() - started if config.analysis.gpus else worker.cpu_seconds
        if not read or not seconds:
            raise IcfaceError(f"none of the {len(clips)} clips looked at can be analysed: {'; '.join(sorted(reasons))}")
        return seconds, read, stored
    finally:
        worker.close()
