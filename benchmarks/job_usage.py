"""What a job with several processes uses: CPU time and memory of all that descend from this one."""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from process_tree import descendants

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Round:
    start: float
    """Seconds until the processes worked."""
    seconds: float
    """From then until the last clip was done."""
    end: float
    """From then until all was written and Ray was gone."""
    frames: int
    cpu: float
    """Seconds of CPU time of the processes that read clips, imports included."""
    other_cpu: float
    """Seconds of CPU time of all other processes (Ray's)."""
    peak_megabytes: float
    """Of the largest process that reads clips."""

    @property
    def whole_rate(self) -> float:
        """Frames a second from the call to the written data, start-up and end included."""
        return self.frames / (self.start + self.seconds + self.end)

    @property
    def whole_cpu(self) -> float:
        """Seconds of CPU time a frame of all processes."""
        return (self.cpu + self.other_cpu) / self.frames


class JobUsage:
    """CPU time and memory of this process's descendants, looked at a few times a second."""

    def __init__(self, working: str) -> None:
        self.name = working
        """Part of the command line of the processes that do the work."""
        self.stop = threading.Event()
        self.working: float | None = None
        """When as many processes as were asked for had the analyzer loaded and read clips."""
        self.worked: float | None = None
        """When one of them was last seen to read a clip."""
        self.peak = 0.0
        self._seconds: dict[int, tuple[bool, float]] = {}

    def watch(self, workers: int) -> None:
        while not self.stop.wait(0.5):
            opened = 0
            for pid, words in descendants(os.getpid()).items():
                try:
                    # One that has ended, and is still listed, has no command line any more.
                    reader = self.name in words or self._seconds.get(pid, (False, 0.0))[0]
                    seconds, peak = usage_of(pid)
                    if reader:
                        self.peak = max(self.peak, peak)
                        # The first process only says what the analyzer is; those of the job are Ray's grandchildren.
                        opened += _parent(_parent(pid)) != os.getpid() and _reads_a_clip(pid)
                except (OSError, ValueError, IndexError):
                    continue
                self._seconds[pid] = (reader, seconds)
            if self.working is None and opened >= workers:
                self.working = time.monotonic()
            if opened:
                self.worked = time.monotonic()

    def sums(self) -> tuple[float, float]:
        """Seconds of the processes that read clips, and of all others."""
        readers = sum(seconds for reader, seconds in self._seconds.values() if reader)
        return readers, sum(seconds for _, seconds in self._seconds.values()) - readers


def _reads_a_clip(pid: int) -> bool:
    return any(".mp4" in str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def usage_of(pid: int) -> tuple[float, float]:
    """Seconds of CPU time and megabytes at the peak of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    status = Path(f"/proc/{pid}/status").read_text()
    # A process that has ended and waits for its parent has no memory any more.
    peak = max((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), default=0)
    return (int(fields[11]) + int(fields[12])) / TICKS, peak / 1024
