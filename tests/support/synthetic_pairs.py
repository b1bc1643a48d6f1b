"""Small trainings on synthetic pairs, for several tests: noise pictures whose brightness follows an attribute."""

from dataclasses import fields

import numpy as np
import torch

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig
from icface.training.batch import Batch
from icface.training.config import TrainConfig
from icface.training.trainer import prepare
from icface.training.validation import RealFrames

SIZE = 32
TINY = {
    "steps": 6,
    "model": {"size": SIZE, "width": 8, "blocks": 1, "discriminator_width": 8},
    "data": {"batch_size": 4},
    "log_every": 2,
    "images_every": 3,
    "checkpoint_every": 2,
    "loss": {"perceptual": 0.0, "critic": 0.0},
}


def tiny_config(preset="small", **changes):
    return TrainConfig.preset(preset).merge(TINY).merge(changes)


def synthetic_batch(step, count=4, first=0):
    """Samples `first`.. of the batch of a step, always the same; about a third of the attributes are null."""
    samples = []
    schema = AttributeSchema.default()
    for index in range(first, first + count):
        rng = np.random.default_rng((7, step, index))
        encoded = rng.random((2, 20), np.float32)
        measured = rng.random((2, 20)) < 0.7
        encoded = np.where(measured, encoded, schema.neutral_encoded())
        pictures = rng.integers(0, 60, (3, 3, SIZE, SIZE)) + (encoded[[0, 1, 0], 4] * 190)[:, None, None, None]
        given = {
            "source": pictures[0].astype(np.uint8),
            "driving": pictures[1].astype(np.uint8),
            "neutral": pictures[2].astype(np.uint8),
            "has_neutral": np.array(index % 2 == 0),
            "source_encoded": encoded[0],
            "driving_encoded": encoded[1],
            "source_measured": measured[0],
            "driving_measured": measured[1],
            "identity": np.array(index % 3),
        }
        tensors = {name: torch.from_numpy(value[None]) for name, value in given.items()}
        samples.append(Batch.example(1, SIZE, 20, 3, seed=1000 * step + index, **tensors))
    return Batch(**{item.name: torch.cat([getattr(s, item.name) for s in samples]) for item in fields(Batch)})


def synthetic_frames(count):
    """Real frames for validation, of three people."""
    batch = synthetic_batch(1000, count)
    return RealFrames(
        pictures=batch.driving, encoded=batch.driving_encoded, measured=batch.driving_measured, identity=batch.identity
    )


def tiny_training(config, schema=None, **options):
    bundle = BundleConfig(model=config.model, schema=schema or AttributeSchema.default())
    return prepare(config, bundle, 3, np.full(20, 0.2, np.float32), torch.device("cpu"), **options)
