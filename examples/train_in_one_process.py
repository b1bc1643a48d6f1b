"""Train in this process, without Ray and MLflow: `python examples/train_in_one_process.py DATASET BUNDLE [STEPS]`.

The loss terms are printed. The result is a bundle folder that `icface animate` takes.
"""

import sys

from icface.bundle import BundleConfig, save_bundle
from icface.training.config import TrainConfig
from icface.training.fit import Hooks, TrainingData, fit
from pipelines.dataset import Dataset
from pipelines.loading.pairs import PairBatches


def show(step: int, metrics: dict[str, float]) -> None:
    terms = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if "/" in name)
    print(f"step {step}: {terms}")


def main(url: str, bundle: str, steps: int = 200) -> None:
    dataset = Dataset.open(url)
    config = TrainConfig.preset("small").merge({"steps": steps, "model": {"size": min(64, dataset.size)}})
    pairs = PairBatches(dataset, config.data, dataset.schema, config.model.size, seed=config.seed, steps=config.steps)
    model = fit(
        config,
        BundleConfig(
            model=config.model,
            schema=dataset.schema,
            crop_rule=dataset.crop_rule.to_json(),
            analyzer=dataset.analyzer,
            licence=dataset.licence,
        ),
        TrainingData(batches=pairs.batches(), identities=len(pairs.identities), deviations=pairs.deviations()),
        hooks=Hooks(on_log=show),
    )
    save_bundle(model, bundle)
    print(f"bundle: {bundle}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
