"""What the bundle of a training says of itself: made once, on the driver, and carried to every rank."""

from icface.bundle import BundleConfig
from icface.errors import IcfaceError
from icface.training.augmentation import seen_in_training
from icface.training.config import TrainConfig
from icface.training.init_from import inherited, init_schema
from pipelines.dataset import Dataset
from pipelines.loading.mixture import Mixture


def make_bundle_config(
    config: TrainConfig, dataset: Dataset | Mixture, init: BundleConfig | None = None
) -> BundleConfig:
    """The configuration of the bundle of a training on `dataset`, which may begin with the model of `init`.

    Raises IcfaceError when a data set cannot be trained on (`check_trainable`).
    """
    mixture = Mixture.of(dataset)
    for part in mixture.parts:
        check_trainable(config, part.dataset)
    groups = [group for part in mixture.parts for group in part.dataset.row_groups("train")]
    schema = mixture.training_schema(config.data.sides)
    made = BundleConfig(
        model=config.model,
        schema=seen_in_training(schema if init is None else init_schema(schema, init.schema)[0], config.data),
        crop_rule=mixture.first.crop_rule.to_json(),
        analyzer=mixture.analyzer,
        baselines=config.data.baselines,
        licence=mixture.licence,
        training={
            "config": config.to_json(),
            "steps": config.steps,
            "batch": config.data.batch_size,
            "dataset_hash": mixture.hash,
            "sources": mixture.sources,
            "frames": sum(group.rows for group in groups),
            "identities": len({group.identity for group in groups}),
            **({"datasets": mixture.facts()} if len(mixture.parts) > 1 else {}),
        },
    )
    return made if init is None else inherited(made, init)


def check_trainable(config: TrainConfig, dataset: Dataset) -> None:
    """Raise IcfaceError when the data set has no frames to train on, or its pictures are smaller than the model's."""
    if not dataset.row_groups("train"):
        raise IcfaceError(
            f"{dataset.url} has no frames to train on, only to evaluate on: preprocess with --val-fraction below 1"
        )
    if dataset.size < config.model.size:
        raise IcfaceError(
            f"{dataset.url} holds pictures of {dataset.size} px and the model wants {config.model.size}: train with "
            f"--model.size {dataset.size}, or preprocess with --size {config.model.size}"
        )
