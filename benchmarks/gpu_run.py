"""A machine with a GPU, used in full for some minutes: `python benchmarks/gpu_run.py DATASET OUT --seconds 540`.

For a GPU that is lent for minutes, on a machine without this project's environment: torch, pyarrow, OpenCV and pandas
are enough. The data set and MediaPipe's face_landmarker.task (`--landmarker`) travel with the code. The program times
some steps, trains as many as fit (no Ray), and renders the evaluation pairs and sweeps of single attributes. With
`--with SYNTHETIC:SHARE` other data sets have a share of the pairs, as in `icface train`. OUT holds:

- `bundle`: the averaged weights. `icface evaluate OUT/bundle DATASET` scores them on a machine without a GPU.
- `log.csv`: losses and validation metrics by step; `samples/`: sample grids; `timing.json`: where the time went.
- `predictions/`: PNG pictures; `icface evaluate --predictions OUT/predictions DATASET` scores them. `predictions.csv`
  says what each one is: `kind` (pair, neutral or sweep), the key of the pair or of the source, and for a sweep the
  attribute and its raw value. `predictions.json` names data set and pairs.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))  # tests import this file too
import stand_ins  # noqa: F401  # before what is not installed everywhere

from icface.animate import generate, to_pictures
from icface.attributes import POSE_NAMES, AttributeSchema
from icface.bundle import BundleConfig, ICface, save_bundle
from icface.evaluation.rendering import drive_pairs, neutral_faces
from icface.spread import evenly
from icface.training.batch import Batch
from icface.training.config import TrainConfig
from icface.training.critic import make_critic
from icface.training.fit import Hooks, TrainingData, fit
from icface.training.trainer import prepare
from orchestration.train.bundle_config import make_bundle_config
from pipelines.dataset import Dataset
from pipelines.loading.evaluation_pairs import EvaluationPairs
from pipelines.loading.mixture import Mixture
from pipelines.loading.pairs import PairBatches
from pipelines.loading.validation_frames import validation_frames

WARM_UP, TIMED = 28, 16
"""Steps that are thrown away, and that are timed, before the number of steps is chosen. In the first ones
steps are recorded as CUDA graphs (`icface.training.graphs`)."""
RENDERING = 0.12
"""Share of the seconds kept for rendering and writing."""
MARGIN = 0.97
"""Share of the time for training that is planned: validation and samples take some."""
BATCH = 32
SWEEP_STEPS = 5
SWEPT = 12
"""Sources that single attributes are swept on."""


class Timing:
    """Seconds of each part, written as it goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = self.last = time.monotonic()
        self.parts: dict[str, float] = {}

    def done(self, part: str, **facts: float | str) -> None:
        now = time.monotonic()
        self.parts |= {part: round(now - self.last, 2), **facts}  # type: ignore[dict-item]
        self.last = now
        self.path.write_text(json.dumps(self.parts, indent=1) + "\n")
        print(f"{now - self.started:7.1f} s  {part}  {facts or ''}", flush=True)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--with", dest="others", nargs="+", default=[], metavar="DATASET:SHARE", help="other data sets")
    parser.add_argument("--seconds", type=float, default=540, help="all in all, from start to end")
    parser.add_argument("--preset", default="icface")
    parser.add_argument("--config", default="{}", help='JSON over the preset, as {"data": {"batch_size": 32}}')
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--landmarker", type=Path, help="face_landmarker.task; by default fetched")
    parser.add_argument("--per-track", type=int, default=6, help="evaluation pairs a track")
    parser.add_argument("--tracks", type=int, default=40, help="tracks a group of pairs")
    options = parser.parse_args()
    run(options)


def run(options: argparse.Namespace) -> None:
    out, device = options.out, torch.device(options.device)
    (out / "samples").mkdir(parents=True, exist_ok=True)
    timing = Timing(out / "timing.json")
    mixture = Mixture.open(options.dataset, options.others)
    config = TrainConfig.preset(options.preset).merge(json.loads(options.config))
    size = min(config.model.size, mixture.first.size)
    config = config.merge({"model": {"size": size}, "checkpoint_every": 10**9, "checkpoint_minutes": 1e9})
    if config.compile == "auto":  # a run of minutes has no time for it
        config = config.merge({"compile": "never"})
    described = make_bundle_config(config, mixture)
    critic = make_critic(config.loss, described, device, options.landmarker)
    deviations, people = statistics(config, mixture, described.schema)
    frames = validation_frames(mixture, config.data, described.schema, size)
    timing.done("opening", device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu")

    seconds = seconds_a_step(config, described, mixture, deviations, people, device, critic)
    timing.done("calibrating", seconds_a_step=round(seconds, 4))
    deadline = options.seconds * (1 - RENDERING)
    steps = max(1, int(MARGIN * (deadline - timing.elapsed) / seconds))
    every = max(1, steps // 20)
    config = config.merge({"steps": steps, "log_every": every, "validate_every": every, "images_every": every})
    described = make_bundle_config(config, mixture)
    log = Log(out / "log.csv")
    model = fit(
        config,
        described,
        TrainingData(
            batches=batches(config, mixture, described.schema),
            identities=people,
            deviations=deviations,
            validation=frames,
        ),
        hooks=Hooks(
            on_log=log.add,
            on_images=lambda step, grid: _write(out / f"samples/{step:06d}.png", grid),
            should_stop=lambda: timing.elapsed > deadline,
        ),
        device=device,
        critic=critic,
    )
    timing.done("training", steps=steps, batch=config.data.batch_size)
    save_bundle(model, out / "bundle")
    render(model.to(device), mixture.first, out / "predictions", options, device)
    timing.done("rendering", of=options.seconds)


def batches(config: TrainConfig, mixture: Mixture, schema: AttributeSchema) -> Iterator[Batch]:
    pairs = PairBatches(mixture, config.data, schema, config.model.size, seed=config.seed, steps=config.steps)
    return pairs.batches()


def statistics(config: TrainConfig, mixture: Mixture, schema: AttributeSchema) -> tuple[Any, int]:
    """The attributes' deviations and the number of training identities."""
    pairs = PairBatches(mixture, config.data, schema, config.model.size, seed=config.seed, steps=1)
    return pairs.deviations(), len(pairs.identities)


def seconds_a_step(
    config: TrainConfig,
    described: BundleConfig,
    mixture: Mixture,
    deviations: Any,
    people: int,
    device: torch.device,
    critic: Any,
) -> float:
    """Of a training that is thrown away, its loader included."""
    config = config.merge({"steps": WARM_UP + TIMED})
    training = prepare(config, described, people, deviations, device, critic=critic)
    started = 0.0
    for step, batch in enumerate(batches(config, mixture, described.schema)):
        if step == WARM_UP:
            _wait(device)
            started = time.monotonic()
        training.step(batch)
    _wait(device)
    return (time.monotonic() - started) / TIMED


class Log:
    """Curves as a table, one row a step that said something."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[int, dict[str, float]] = {}

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        self.rows.setdefault(step, {"step": step}).update(metrics)
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows.values())


@torch.inference_mode()
def render(model: ICface, dataset: Dataset, folder: Path, options: argparse.Namespace, device: torch.device) -> None:
    """The evaluation pairs, their neutral faces and sweeps of single attributes."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []

    def add(kind: str, picture: np.ndarray, **facts: Any) -> None:
        file = f"{len(rows):06d}.png"
        _write(folder / file, picture)
        rows.append({"file": file, "kind": kind, **facts})

    model.eval()
    pairs = EvaluationPairs(dataset, per_track=options.per_track, tracks=options.tracks)
    sources: dict[str, torch.Tensor] = {}
    listed = list(pairs)
    for start in range(0, len(listed), BATCH):
        part = listed[start : start + BATCH]
        neutral = neutral_faces(model, part, device)
        relaxed, made = to_pictures(neutral), drive_pairs(model, neutral, part)[0]
        for index, pair in enumerate(part):
            if pair.source_key not in sources:
                sources[pair.source_key] = neutral[index]
                add("neutral", relaxed[index], key=pair.source_key, group=pair.group)
            add("pair", made[index], key=pair.key, group=pair.group)
    for key in evenly(list(sources), SWEPT):
        steps = list(sweep(model.schema))
        encoded = torch.from_numpy(np.stack([encoded for _, _, encoded in steps])).to(device)
        made = to_pictures(generate(model, sources[key].expand(len(steps), -1, -1, -1), encoded))
        for (name, value, _), picture in zip(steps, made, strict=True):
            add("sweep", picture, key=key, attribute=name, value=value)
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "kind", "group", "key", "attribute", "value"])
        writer.writeheader()
        writer.writerows(rows)
    facts = {
        "dataset_hash": dataset.hash,
        "pairs_hash": pairs.hash,
        "per_track": options.per_track,
        "tracks": options.tracks,
        "size": model.size,
        "schema": model.schema.to_json(),
    }
    (folder / "predictions.json").write_text(json.dumps(facts, indent=1) + "\n")


def sweep(schema: AttributeSchema) -> Iterator[tuple[str, float, np.ndarray]]:
    """Name, raw value and encoded attributes of each step of each trained attribute over what was seen."""
    for index, attribute in enumerate(schema.attributes):
        if not attribute.trained or attribute.seen is None:
            continue
        low = attribute.seen.p01 if attribute.name in POSE_NAMES else attribute.neutral
        for value in np.linspace(low, attribute.seen.p99, SWEEP_STEPS):
            raw = schema.neutral()[None].copy()
            raw[0, index] = value
            yield attribute.name, round(float(value), 4), schema.encode(raw)[0][0]


def _write(path: Path, picture: np.ndarray) -> None:
    cv2.imwrite(str(path), picture[..., ::-1])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
