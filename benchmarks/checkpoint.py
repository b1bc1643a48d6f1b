"""What a step waits for a checkpoint: `python benchmarks/checkpoint.py [--preset NAME] [--rounds N] [--folder DIR]`.

The baseline writes the checkpoint between two steps, as icface did up to version 0.1. Beside it the state is copied in
memory, and a thread writes the copy. Rounds of both alternate, and the ratio of the medians is printed (goal 0.2).
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig
from icface.training.batch import Batch
from icface.training.checkpoint import FILE, HostCopy, save_state
from icface.training.config import PRESETS, TrainConfig
from icface.training.trainer import prepare
from orchestration.train.background_writer import BackgroundWriter
from orchestration.train.checkpoint_store import Checkpoints
from pipelines.storage import Folder

GOAL_RATIO = 0.2
IDENTITIES, PAIRS = 8, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=sorted(PRESETS), default="icface")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where the checkpoints are written; by default a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        _measure(arguments.preset, arguments.rounds, Path(folder))


def _measure(preset: str, rounds: int, folder: Path) -> None:
    config = TrainConfig.preset(preset).merge({"compile": "never"})
    bundle = BundleConfig(model=config.model, schema=AttributeSchema.default())
    count = len(bundle.schema)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training = prepare(config, bundle, IDENTITIES, np.full(count, 0.1, np.float32), device)
    training.step(Batch.example(PAIRS, config.model.size, count, IDENTITIES))  # the optimisers have their state now
    training.settle()
    checkpoints, copy = Checkpoints(Folder.at(folder)), HostCopy()
    writer = BackgroundWriter(checkpoints, lambda step: None)
    waits: dict[str, list[float]] = {"in the step": [], "beside it": [], "(the write beside it)": []}
    for number in range(rounds + 1):
        began = time.monotonic()
        checkpoints.write(2 * number, lambda folder: save_state(folder, training.state()))
        written = time.monotonic()
        writer.begin(2 * number + 1, copy.take(training.state()))
        copied = time.monotonic()
        if (problem := writer.wait()) is not None:
            raise SystemExit(str(problem))
        seconds = (written - began, copied - written, time.monotonic() - copied)
        told = "first" if number == 0 else f"round {number}"
        for (name, found), value in zip(waits.items(), seconds, strict=True):
            print(f"{told}: {name:22} {1000 * value:8.0f} ms", flush=True)
            if number:  # the first copy asks for its memory
                found.append(value)
    size = (Path(folder) / f"checkpoint_{2 * rounds + 1:08d}" / FILE).stat().st_size
    before, now, _ = (statistics.median(found) for found in waits.values())
    print(
        f"{preset} on {device.type}, {size / 2**20:.0f} MiB: a step waits {1000 * now:.0f} ms, {1000 * before:.0f} ms "
        f"where it writes: {now / before:.2f} (goal {GOAL_RATIO})"
    )


if __name__ == "__main__":
    main()
