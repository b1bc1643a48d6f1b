"""Planning at VoxCeleb2's size, and at ten times it: `python benchmarks/planning.py [--clips N]`.

A synthetic listing goes through the same planning as `icface preprocess`, once for a new data set and once for one in
which every shard is finished. Each runs in a process of its own, which prints its time and its peak memory, imports
included. Goals: 1.1 million clips under 60 s and 1 GB, 11 million under 120 s and 4 GB.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CLIPS_OF_A_PERSON, CLIPS_OF_A_VIDEO = 180, 7
"""About those of VoxCeleb2, which has 1.1 million clips."""
GOALS = {1_100_000: (60.0, 1000.0), 11_000_000: (120.0, 4000.0)}
"""Seconds and megabytes by clips."""


def clips_of(identity: int, clips: int) -> Iterator[tuple[str, int]]:
    """Names and sizes of a person's clips, of `clips` in all, as in VoxCeleb2's tree."""
    for number in range(identity * CLIPS_OF_A_PERSON, min(clips, (identity + 1) * CLIPS_OF_A_PERSON)):
        video, position = divmod(number % CLIPS_OF_A_PERSON, CLIPS_OF_A_VIDEO)
        name = f"id{identity:05d}/v{identity * 1000 + video:010d}/{position:05d}.mp4"
        yield name, 100_000 + number % 900_000


def measure(clips: int, dataset: str, finished: bool, answers: Any) -> None:
    """Plan once, and put (seconds, CPU seconds, megabytes, shards, shards to do) on `answers`.

    `finished` makes all shards afterwards, for a second run.
    """
    import fsspec
    from fsspec.spec import AbstractFileSystem

    from pipelines.config import PreprocessConfig
    from pipelines.preprocess.plan import make_plan
    from pipelines.storage import Folder

    class Synthetic(AbstractFileSystem):
        protocol = "synthetic"

        def ls(self, path: str, **_: Any) -> list[dict[str, Any]]:
            below = {"vox": ["dev"], "vox/dev": ["mp4"]}.get(path)
            names = below or [f"id{number:05d}" for number in range(-(-clips // CLIPS_OF_A_PERSON))]
            return [{"name": f"{path}/{name}", "type": "directory"} for name in names]

        def find(self, path: str, **_: Any) -> dict[str, dict[str, Any]]:
            above, _, identity = path.rpartition("/")
            found = clips_of(int(identity.removeprefix("id")), clips)
            return {f"{above}/{name}": {"size": size, "type": "file"} for name, size in found}

        def exists(self, path: str, **_: Any) -> bool:
            return not path.endswith(".csv")

    fsspec.register_implementation("synthetic", Synthetic)
    config = PreprocessConfig(source="synthetic://vox", dataset=dataset)
    source, target = Folder.at(config.source), Folder.at(config.dataset)
    start, before = time.perf_counter(), time.process_time()
    plan = make_plan(config, source, target)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if finished:
        (Path(dataset) / "clips").mkdir()
        for shard in plan.shards:
            (Path(dataset) / shard.clips_file).touch()
    answers.put((seconds, cpu_seconds, peak / 1024, len(plan.shards), len(plan.todo)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, choices=sorted(GOALS), default=min(GOALS))
    options = parser.parse_args()
    goal_seconds, goal_megabytes = GOALS[options.clips]
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as dataset:
        for words in ("new data set", "all done"):
            answers = context.Queue()
            process = context.Process(target=measure, args=(options.clips, dataset, words == "new data set", answers))
            process.start()
            seconds, cpu_seconds, megabytes, shards, todo = answers.get()
            process.join()
            reached = "reached" if seconds < goal_seconds and megabytes < goal_megabytes else "missed"
            print(
                f"{words}: {options.clips} clips, {shards} shards, {todo} to do: {seconds:.1f} s (goal "
                f"{goal_seconds:.0f}; {cpu_seconds:.1f} s of CPU time), {megabytes:.0f} MB at the peak (goal "
                f"{goal_megabytes:.0f}): {reached}"
            )


if __name__ == "__main__":
    main()
