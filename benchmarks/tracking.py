"""What recording a run costs: `python benchmarks/tracking.py [--preset small] [--steps N]`.

CPU time of recording as `icface train` does it (metrics every `log_every` steps, a sample grid every `images_every`,
into MLflow on sqlite, in the background) against the CPU time of the step itself, all threads of both counted, on
synthetic pictures. CPU time, because other programs share the machine. Goal: under 1 % of a step. Beside it the time
that the training's own thread waits, which is what a GPU would notice.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import torch
from measuring import surroundings

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig
from icface.training.batch import Batch
from icface.training.config import PRESETS, TrainConfig
from icface.training.trainer import prepare
from orchestration.tracking.run_logger import RunLogger, experiment_id, use_tracking

GOAL = 0.01
METRICS = 60
"""Losses, validation metrics and speeds that a run records at a time."""
TIMES = 40


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of all threads of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small", choices=sorted(PRESETS))
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    config = TrainConfig.preset(options.preset)
    print(surroundings(torch.device("cpu")))

    bundle = BundleConfig(model=config.model, schema=AttributeSchema.default())
    training = prepare(config, bundle, 2, np.full(20, 0.2, np.float32), torch.device("cpu"))
    batch = Batch.example(config.data.batch_size, config.model.size, len(AttributeSchema.default()), identities=2)
    training.step(batch)
    step = min(cpu_seconds(lambda: training.step(batch)) for _ in range(options.steps))

    grid = np.random.default_rng(1).integers(0, 256, (6 * config.model.size, 4 * config.model.size, 3), np.uint8)
    values = {f"N/loss_{index}": 0.1 * index for index in range(METRICS)}
    waited = {"metrics": 0.0, "picture": 0.0}
    spent = {}
    with tempfile.TemporaryDirectory(prefix="icface-tracking-") as folder:
        use_tracking(f"sqlite:///{folder}/mlflow.db")
        run = mlflow.MlflowClient().create_run(experiment_id()).info.run_id
        for kind in ("warm", "metrics", "picture"):

            def record(kind: str = kind) -> None:
                logger = RunLogger(run, Path(folder) / "unsent.jsonl")
                for number in range(TIMES if kind != "warm" else 1):
                    start = time.thread_time()
                    if kind == "picture":
                        logger.picture(number, grid)
                    else:
                        logger.metrics(number, values)
                    if kind != "warm":
                        waited[kind] += time.thread_time() - start
                logger.close()

            spent[kind] = cpu_seconds(record)
    per_step = spent["metrics"] / TIMES / config.log_every + spent["picture"] / TIMES / config.images_every
    waits = waited["metrics"] / TIMES / config.log_every + waited["picture"] / TIMES / config.images_every
    share = per_step / step
    print(f"preset {options.preset}: a step takes {step:.3f} CPU s")
    print(f"{METRICS} metrics every {config.log_every} steps: {spent['metrics'] / TIMES * 1e3:.1f} CPU ms")
    print(f"a sample grid every {config.images_every} steps: {spent['picture'] / TIMES * 1e3:.1f} CPU ms")
    verdict = "reached" if share < GOAL else f"missed by {share - GOAL:.2%}"
    print(f"recording costs {share:.2%} of a step (goal under {GOAL:.0%}: {verdict})")
    print(f"the training's own thread waits {waits * 1e6:.1f} microseconds a step")


if __name__ == "__main__":
    main()
