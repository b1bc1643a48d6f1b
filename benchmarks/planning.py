"""Planning at VoxCeleb2's size: `python benchmarks/planning.py [--clips N]`.

A synthetic listing of 1.1 million clips goes through the same planning as `icface preprocess`, once for a new data set
and once for one in which every shard is finished. Each runs in a process of its own, which prints its time and its
peak memory, imports included. Goals: under 60 s, under 1 GB.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CLIPS = 1_100_000
IDENTITIES = 6_112
"""Of VoxCeleb2; each has about 25 videos of about 7 clips."""
CLIPS_OF_A_VIDEO = 7
GOAL_SECONDS, GOAL_MEGABYTES = 60.0, 1000.0


def listing(clips: int) -> Iterator[tuple[str, int]]:
    """Names and sizes as in VoxCeleb2's tree."""
    of_each = -(-clips // IDENTITIES)
    for number in range(clips):
        identity, clip = divmod(number, of_each)
        video, position = divmod(clip, CLIPS_OF_A_VIDEO)
        name = f"dev/mp4/id{identity:05d}/v{identity * 1000 + video:010d}/{position:05d}.mp4"
        yield name, 100_000 + number % 900_000


def measure(clips: int, dataset: str, finished: bool, answers: Any) -> None:
    """Plan once, and put (seconds, megabytes, shards, shards to do) on `answers`; `finished` makes the shards first."""
    import fsspec
    from fsspec.spec import AbstractFileSystem

    from pipelines.config import PreprocessConfig
    from pipelines.preprocess.plan import make_plan
    from pipelines.storage import Folder

    class Synthetic(AbstractFileSystem):
        protocol = "synthetic"

        def find(self, path: str, detail: bool = False, **_: Any) -> dict[str, dict[str, Any]]:
            return {f"{path}/{name}": {"size": size, "type": "file"} for name, size in listing(clips)}

        def exists(self, path: str, **_: Any) -> bool:
            return not path.endswith(".csv")

    fsspec.register_implementation("synthetic", Synthetic)
    config = PreprocessConfig(source="synthetic://vox", dataset=dataset)
    source, target = Folder.at(config.source), Folder.at(config.dataset)
    start = time.perf_counter()
    plan = make_plan(config, source, target)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if finished:
        (Path(dataset) / "clips").mkdir()
        for shard in plan.shards:
            (Path(dataset) / shard.clips_file).touch()
    answers.put((seconds, peak / 1024, len(plan.shards), len(plan.todo)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=CLIPS)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as dataset:
        for words in ("new data set", "all done"):
            answers = context.Queue()
            process = context.Process(target=measure, args=(options.clips, dataset, words == "new data set", answers))
            process.start()
            seconds, megabytes, shards, todo = answers.get()
            process.join()
            reached = "reached" if seconds < GOAL_SECONDS and megabytes < GOAL_MEGABYTES else "missed"
            print(
                f"{words}: {options.clips} clips, {shards} shards, {todo} to do: {seconds:.1f} s (goal "
                f"{GOAL_SECONDS:.0f}), {megabytes:.0f} MB at the peak (goal {GOAL_MEGABYTES:.0f}): {reached}"
            )


if __name__ == "__main__":
    main()
