"""What each choice of the recipe is worth: `python benchmarks/ablation.py DATASET [--steps N] [--size S] [--only ...]`.

A base configuration (the small preset, narrower) and variants that differ from it in one thing each are trained for
the same steps on the same batches, one process, one thread, and evaluated on held-out frames of the training people.
One table is printed, beside the base with another seed, whose distance from the base is the noise: differences of
that size say nothing. Small pictures and few steps: a choice that pays only later is not seen here.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from icface import analyzers
from icface.analyzers.face import Analyzer, Face
from icface.bundle import ICface
from icface.evaluation import evaluate
from icface.training.config import TrainConfig
from icface.training.critic import make_critic
from icface.training.fit import Hooks, TrainingData, fit
from orchestration.train.bundle_config import make_bundle_config
from pipelines.dataset import Dataset
from pipelines.loading.evaluation_pairs import EvaluationPairs
from pipelines.loading.pairs import PairBatches
from pipelines.loading.validation_frames import validation_frames

BASE: dict[str, Any] = {
    "model": {"width": 16, "blocks": 1, "discriminator_width": 16},
    "data": {"rotate": 0.0},
    "optimiser": {"decay_from": 0.5},
    "validate_every": 50,
    "images_every": 1_000_000,
    "checkpoint_every": 1_000_000,
    "checkpoint_minutes": 1e6,
}
"""What differs from the small preset in every training."""
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "base, another seed": {"seed": 1},
    "attributes not amplified": {"model": {"attribute_gain": 1.0}},
    "no fields of flow": {"model": {"flow_basis": 0}},
    "fields of 16 x 16 cells": {"model": {"flow_basis": 16}},
    "baselines taken off": {"data": {"baselines": True}},
    "pairs drawn evenly": {"data": {"balanced_share": 0.0}},
    "labels not smoothed": {"data": {"smoothing_frames": 1}},
    "attributes by L1": {"loss": {"attribute_error": "l1"}},
    "every attribute used": {"loss": {"readable_from": 0.0}},
    "attribute weight x10": {"loss": {"attribute": 1.0}},
    "pseudo target only": {"loss": {"neutral_frames": False}},
    "no noise on the neutral face": {"loss": {"neutral_noise": 0.0}},
    "hinge": {"loss": {"gan": "hinge"}},
    "adversarial weight x10": {"loss": {"adversarial": 1.0}},
    "feature matching": {"loss": {"feature_matching": 1.0}},
    "perceptual": {"loss": {"perceptual": 1.0}},
    "perceptual, adversarial weight x5": {"loss": {"adversarial": 0.5, "perceptual": 1.0}},
    "the paper's weights": {"loss": {"adversarial": 1.0, "attribute": 10.0, "identity": 10.0}},
    "the paper's weights, perceptual": {
        "loss": {"adversarial": 1.0, "attribute": 10.0, "identity": 10.0, "perceptual": 1.0}
    },
    "no regions": {"loss": {"regions": 0.0}},
    "no landmarks": {"loss": {"landmarks": 0.0}},
    "resnet": {"model": {"architecture": "resnet"}},
}
COLUMNS = ("L1/copy", "sharpness", "AU r", "pose r", "D's r", "leak", "variance", "ms/step")
UNITS = ("AU01", "AU02", "AU12", "AU25", "AU26", "AU45")


class Remembering:
    """An analyzer that measures equal pictures once: sources and driving frames are the same for every variant."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyzer = analyzer
        self.name, self.fingerprint = analyzer.name, analyzer.fingerprint
        self.measures, self.batch_size = analyzer.measures, analyzer.batch_size
        self._known: dict[bytes, list[Face]] = {}

    def analyze(self, frames: np.ndarray, frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        keys = [frame.tobytes() for frame in frames]
        fresh = [index for index, key in enumerate(keys) if key not in self._known]
        if fresh:
            found = self._analyzer.analyze(frames[fresh], [frame_indices[index] for index in fresh], clip)
            self._known |= {keys[index]: faces for index, faces in zip(fresh, found, strict=True)}
        return [self._known[key] for key in keys]

    def close(self) -> None:
        self._analyzer.close()


def train(config: TrainConfig, dataset: Dataset) -> tuple[ICface, dict[str, float], float]:
    """The model, the last metrics of its log and the milliseconds a step, reading and validation included."""
    described = make_bundle_config(config, dataset)
    pairs = PairBatches(
        dataset, config.data, described.schema, config.model.size, seed=config.seed, first_step=0, steps=config.steps
    )
    metrics: dict[str, float] = {}
    started = time.monotonic()
    model = fit(
        config,
        described,
        TrainingData(
            batches=pairs.batches(),
            identities=len(pairs.identities),
            deviations=pairs.deviations(),
            validation=validation_frames(dataset, config.data, described.schema, config.model.size),
            calibration=pairs_again(dataset, config, described.schema),
        ),
        hooks=Hooks(on_log=lambda step, values: metrics.update(values)),
        critic=make_critic(config.loss, described),
    )
    return model, metrics, 1000 * (time.monotonic() - started) / config.steps


def pairs_again(dataset: Dataset, config: TrainConfig, schema: Any) -> Any:
    """The first steps' batches, for networks with batch norm."""
    return PairBatches(dataset, config.data, schema, config.model.size, seed=config.seed, steps=8).batches()


def scores(model: ICface, metrics: dict[str, float], pairs: EvaluationPairs, analyzer: Analyzer) -> dict[str, float]:
    """A row of the table; r is within tracks, so that differences between people do not count."""
    report = evaluate(model, pairs, analyzer).groups["held_out"].scores
    ours, copied = report["model"], report["copy_source"]

    def mean(names: Sequence[str], where: dict[str, Any] | Any, prefix: str) -> float:
        found = [where.get(f"{prefix}{name}") for name in names]
        return float(np.mean([value for value in found if value is not None])) if any(found) else float("nan")

    poses = [f"pose_{axis}" for axis in ("pitch", "yaw", "roll")]
    return {
        "L1/copy": ours["face_l1"] / copied["face_l1"],
        "sharpness": ours["sharpness"],
        "AU r": mean(UNITS, ours, "within."),
        "pose r": mean(("pitch", "yaw", "roll"), ours, "within."),
        "D's r": mean([*UNITS, *poses], metrics, "D/r/"),
        "leak": ours["neutral_leak"] if ours["neutral_leak"] is not None else float("nan"),
        "variance": ours["neutral_variance"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--tracks", type=int, default=32, help="tracks that are evaluated")
    parser.add_argument("--per-track", type=int, default=6, help="frames of each that are asked for")
    parser.add_argument("--only", nargs="*", choices=VARIANTS, help="some of the variants")
    parser.add_argument("--json", type=Path, help="rows are kept here; those that are there are not made again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = Dataset.open(options.dataset)
    base = TrainConfig.preset("small").merge(BASE).merge({"steps": options.steps, "model": {"size": options.size}})
    pairs = EvaluationPairs(dataset, groups=["held_out"], per_track=options.per_track, tracks=options.tracks)
    analyzer = Remembering(analyzers.create("mediapipe"))
    rows: dict[str, dict[str, float]] = {}
    if options.json and options.json.exists():
        rows = json.loads(options.json.read_text())
    print(f"{options.steps} steps at {options.size} px, {len(pairs)} pairs of {dataset.url}")
    print(f"{'':34}" + "".join(f"{name:>11}" for name in COLUMNS), flush=True)
    for name in options.only or VARIANTS:
        if name not in rows:
            model, metrics, milliseconds = train(base.merge(VARIANTS[name]), dataset)
            rows[name] = {**scores(model, metrics, pairs, analyzer), "ms/step": milliseconds}
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1))
        print(f"{name:34}" + "".join(f"{rows[name][column]:11.3f}" for column in COLUMNS), flush=True)
    analyzer.close()


if __name__ == "__main__":
    main()
