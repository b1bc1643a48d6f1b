"""Ray Train against plain torchrun: `python benchmarks/ddp.py [--workers 2] [--steps 10] [--rounds 8]`.

Both run `icface.training.fit` with the same config on the same synthetic batches, with as many processes and threads.
The Ray side has all that `icface train` has around a step: the coordinator, the wish to stop, MLflow in the background.
Both live at once and take turns of some steps, so that a noisy machine is as noisy for one as for the other; the
first round warms up. Ray's own processes idle in the background of both: their share of the cores is measured and
taken off Ray's images/s.

Goal: 0.97 of torchrun's images/s. The time inside all-reduces (which is mostly waiting for the slowest rank) and the
time that the same all-reduces take by themselves are reported beside it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from process_tree import descendants

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig
from icface.training.batch import Batch
from icface.training.config import TrainConfig
from icface.training.distributed import world
from icface.training.fit import Hooks, TrainingData, fit

GOAL = 0.97
IDENTITIES = 8
LONELY = 20
"""Repetitions when the all-reduces are timed by themselves."""


def config_of(preset: str, steps: int) -> TrainConfig:
    """The preset for these steps and one more, which closes the last turn; nothing is saved or drawn on the way."""
    return TrainConfig.preset(preset).merge({"steps": steps + 1, "images_every": 10**9, "checkpoint_every": 10**9})


def synthetic_batch(config: TrainConfig, rank: int, ranks: int) -> Batch:
    """A slice of a batch of noise."""
    attributes = len(AttributeSchema.default())
    return Batch.example(config.data.batch_size // ranks, config.model.size, attributes, IDENTITIES, seed=rank)


class AllReduces:
    """Counts and times `torch.distributed.all_reduce` of this process."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.sizes: list[int] = []
        self.reduce: Callable[..., Any] = dist.all_reduce
        dist.all_reduce = self.timed

    def timed(self, tensor: torch.Tensor, *arguments: Any, **named: Any) -> None:
        start = time.perf_counter()
        self.reduce(tensor, *arguments, **named)
        self.seconds += time.perf_counter() - start
        self.sizes.append(tensor.numel())

    def lonely(self, sizes: list[int]) -> float:
        """Seconds that all-reduces of these sizes take when every rank is there and does nothing else."""
        tensors = [torch.zeros(size) for size in sizes]
        seconds = []
        for _ in range(LONELY):
            dist.barrier()
            start = time.perf_counter()
            for tensor in tensors:
                self.reduce(tensor)
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)


def turns(folder: Path, side: str, batch: Batch, steps: int, rounds: int, reduces: AllReduces) -> Iterator[Batch]:
    """The batch, again and again, as long as it is this side's turn; rank 0 writes how long each turn took."""
    rank, ranks = world()
    for number in range(rounds):
        while not (folder / f"{number}-{side}-go").exists():
            time.sleep(0.01)
        reduces.seconds, reduces.sizes = 0.0, []
        start = time.perf_counter()
        for _ in range(steps):
            yield batch
        seconds = time.perf_counter() - start
        sizes = reduces.sizes[: len(reduces.sizes) // steps]
        result = {
            "images_per_second": steps * len(batch) * ranks / seconds,
            "reducing": reduces.seconds / seconds,
            "all_reduces_a_step": len(sizes),
            "lonely": reduces.lonely(sizes) * steps / seconds,
        }
        if rank == 0:
            partial = folder / f"{number}-{side}.partial"
            partial.write_text(json.dumps(result))
            partial.rename(folder / f"{number}-{side}-done")
    yield batch


def work(folder: Path, side: str, config: TrainConfig, steps: int, rounds: int, hooks: Hooks, threads: int) -> None:
    """What each rank of either side does."""
    torch.set_num_threads(threads)
    reduces = AllReduces()
    batch = synthetic_batch(config, *world())
    bundle = BundleConfig(model=config.model, schema=AttributeSchema.default())
    deviations = np.full(len(bundle.schema), 0.2, np.float32)
    batches = turns(folder, side, batch, steps, rounds, reduces)
    fit(config, bundle, TrainingData(batches=batches, identities=IDENTITIES, deviations=deviations), hooks=hooks)


def work_plainly(folder: Path, config: TrainConfig, steps: int, rounds: int, threads: int) -> None:
    dist.init_process_group("gloo")
    work(folder, "plain", config, steps, rounds, Hooks(), threads)
    dist.destroy_process_group()


def work_under_ray(values: dict[str, Any]) -> None:
    from orchestration.train.background_writer import BackgroundWriter
    from orchestration.train.checkpoint_store import Checkpoints
    from orchestration.train.rank_hooks import hooks_of
    from orchestration.train.run_logging import close_logger, open_logger
    from pipelines.storage import Folder

    job = values["job"]
    rank = world()[0]
    folder = Folder.at(job.folder)
    logger = open_logger(job.mlflow_run_id, job.tracking_uri) if rank == 0 else None
    checkpoints = Checkpoints(folder)
    writer = BackgroundWriter(checkpoints, lambda step: None) if rank == 0 else None
    hooks = hooks_of(job, checkpoints, writer, logger, torch.device("cpu"))
    hooks = replace(hooks, on_checkpoint=Hooks().on_checkpoint)  # the same state goes to the same disk on both sides
    work(Path(values["turns"]), "ray", job.config, values["steps"], values["rounds"], hooks, job.threads)
    if logger is not None:
        close_logger(logger, folder)


def cpu_seconds(processes: set[int]) -> dict[int, float]:
    """What each of the processes that still live has used."""
    used = {}
    for process in processes:
        try:
            fields = (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        used[process] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


def rays_own(driver: int) -> set[int]:
    """Ray's daemons and idle workers: what descends from the driver and neither trains nor is torchrun."""
    others = ("TrainWorker", "torch.distributed.run", "ddp.py")
    return {process for process, text in descendants(driver).items() if not any(word in text for word in others)}


def measure(workers: int, steps: int, rounds: int, preset: str) -> dict[str, Any]:
    """Run both sides by turns; returns what each turn reported, and the share of the cores that Ray itself took."""
    import ray
    from ray.train.torch import TorchTrainer

    from orchestration.registry import runs
    from orchestration.tracking import run_logger
    from orchestration.train.coordinator import start_coordinator
    from orchestration.train.process_group import ProcessGroup
    from orchestration.train.rank_job import RankJob
    from pipelines.cluster import connect

    cores = os.cpu_count() or 1
    threads = max(1, cores // workers)
    config = config_of(preset, steps * rounds)
    results: dict[str, list[dict[str, float]]] = {"ray": [], "plain": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        uri = run_logger.use_tracking()
        import mlflow

        run = mlflow.MlflowClient().create_run(run_logger.experiment_id()).info.run_id
        plain = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)]
        plain += [__file__, "--plain", str(folder), "--steps", str(steps), "--rounds", str(rounds), "--preset", preset]
        plain += ["--threads", str(threads)]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": str(threads)}
        with connect("local", workers, packages=()):
            job = RankJob(
                config=config,
                bundle_config=BundleConfig(model=config.model, schema=AttributeSchema.default()),
                dataset="",
                mixed_with=(),
                folder=place,
                tracking_uri=uri,
                mlflow_run_id=run,
                cache=None,
                threads=threads,
                gpu=False,
                profile=False,
                evaluate_every=0,
                ray_data=False,
                coordinator=start_coordinator(),
            )
            trainer = TorchTrainer(
                work_under_ray,
                train_loop_config={"job": job, "turns": place, "steps": steps, "rounds": rounds},
                scaling_config=ray.train.ScalingConfig(num_workers=workers),
                torch_config=ProcessGroup(backend="gloo"),
                run_config=ray.train.RunConfig(name="ddp", storage_path=place),
            )
            thread = threading.Thread(target=trainer.fit, daemon=True)
            thread.start()
            torchrun = subprocess.Popen(plain, env=environment)
            for number in range(rounds):
                if number == 1:
                    daemons = rays_own(os.getpid())
                    began, used = time.perf_counter(), cpu_seconds(daemons)
                for side in ("ray", "plain") if number % 2 else ("plain", "ray"):
                    (folder / f"{number}-{side}-go").touch()
                    done = folder / f"{number}-{side}-done"
                    while not done.exists():
                        if torchrun.poll() or not (thread.is_alive() or done.exists()):
                            raise SystemExit(f"the {side} side ended before its turn {number} was over")
                        time.sleep(0.05)
                    if number:
                        results[side].append(json.loads(done.read_text()))
            since = sum(seconds - used[process] for process, seconds in cpu_seconds(daemons).items())
            share = since / (time.perf_counter() - began) / cores
            thread.join()
            torchrun.wait()
        runs.end_run(run, "FINISHED")
    return {**results, "daemons": share, "threads": threads}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="steps a turn")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each side, the first of which warms up")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--plain", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        config = config_of(options.preset, options.steps * options.rounds)
        work_plainly(Path(options.plain), config, options.steps, options.rounds, options.threads)
        return
    found = measure(options.workers, options.steps, options.rounds, options.preset)
    ratios = [
        a["images_per_second"] / b["images_per_second"] for a, b in zip(found["ray"], found["plain"], strict=True)
    ]
    for side in ("ray", "plain"):
        rows = found[side]
        middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(
            f"{side:5}: {middle['images_per_second']:.2f} images/s, {100 * middle['reducing']:.1f} % of the time in "
            f"{middle['all_reduces_a_step']:.0f} all-reduces a step ({100 * middle['lonely']:.1f} % by themselves)"
        )
    ratio = statistics.median(ratios) * (1 - found["daemons"])
    spread = ", ".join(f"{value:.3f}" for value in ratios)
    print(f"turn by turn: {spread}; Ray's own processes took {100 * found['daemons']:.2f} % of the cores")
    reached = "reached" if ratio >= GOAL else "missed"
    print(f"{options.workers} workers of {found['threads']} threads: {ratio:.3f} of torchrun (goal {GOAL}): {reached}")


if __name__ == "__main__":
    main()
