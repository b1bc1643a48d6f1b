"""Memory of the process that reads a very long clip: `python benchmarks/long_clip.py CLIP [--minutes 20] [--every 5]`.

CLIP is looped without encoding it again until it is that long; then one process turns the whole into rows, as in
`icface preprocess`, and its peak memory is shown. Goal: under 1 GB, for 20 minutes of 1080p.
"""

import argparse
import tempfile
import time
from pathlib import Path

import av

from pipelines.config import PreprocessConfig, RunningConfig, SelectionConfig
from pipelines.preprocess.clip_worker import ClipWorker
from pipelines.sources import list_clips
from pipelines.storage import Folder

GOAL_MEGABYTES = 1000.0


def loop(clip: Path, minutes: float, target: Path) -> None:
    """Write the packets of `clip` again and again, each time later."""
    target.parent.mkdir(parents=True)
    with av.open(str(target), "w") as out:
        written = None
        end = 0
        while True:
            with av.open(str(clip)) as source:
                stream = source.streams.video[0]
                written = written or out.add_stream_from_template(stream)
                shift = None
                for packet in source.demux(stream):
                    if packet.dts is None:
                        continue
                    # The first packet may lie before 0, where frames are reordered.
                    shift = end - packet.dts if shift is None else shift
                    packet.dts += shift
                    packet.pts += shift
                    end = packet.dts + (packet.duration or 1)
                    packet.stream = written
                    out.mux(packet)
                if end * stream.time_base >= minutes * 60:
                    return


def peak_megabytes(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--every", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        loop(options.clip, options.minutes, Path(folder) / "clips/ann/long/1.mp4")
        source = Folder.at(Path(folder) / "clips")
        worker = ClipWorker(
            PreprocessConfig(
                source=source.absolute,
                dataset=f"{folder}/data",
                selection=SelectionConfig(every=options.every),
                running=RunningConfig(cpu_seconds=36000),
            )
        )
        worker.start()
        process = worker._process
        assert process is not None
        idle = peak_megabytes(process.pid)
        start = time.monotonic()
        row, _ = worker.rows(list_clips(source)[0], "train", Path(folder) / "out.arrow")
        seconds, peak = time.monotonic() - start, peak_megabytes(process.pid)
        worker.close()
    reached = "reached" if peak < GOAL_MEGABYTES else "missed"
    print(
        f"{row['width']}x{row['height']}, {row['seconds'] / 60:.1f} min, every {options.every}: {row['status']}, "
        f"{row['frames_read']} frames read, {row['frames_kept']} kept in {seconds:.0f} s; peak {peak:.0f} MB "
        f"({idle:.0f} MB before the clip; goal {GOAL_MEGABYTES:.0f}): {reached}"
    )


if __name__ == "__main__":
    main()
