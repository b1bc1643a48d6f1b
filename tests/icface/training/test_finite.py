"""A loss that is not finite changes no weight, though the host does not wait for the device to find out.

`DeferredCheck` is what a GPU trains with; here it runs on the CPU. Landmarks that are not numbers spoil the
reconstruction's weights and no flow: the CPU's grid_sample may crash on those, the GPU's does not.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.ranks import on_ranks
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training

from benchmarks.counting import count
from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig
from icface.training import trainer
from icface.training.finite import DeferredCheck, NonFiniteLoss
from icface.training.fit import Hooks, TrainingData, fit

CHANGES = {
    "small": {"loss": {"landmarks": 0.0, "regions": 1.0}},
    "paper": {"loss": {"regions": 1.0}, "model": {"dropout": 0.0}},
}


def training_of(preset="small", deferred=True, **changes):
    training = tiny_training(tiny_config(preset, **changes).merge(CHANGES[preset]))
    if deferred:
        training.check = DeferredCheck(training.device)
    return training


def spoilt_batch(step, count=4, first=0):
    batch = synthetic_batch(step, count, first)
    batch.driving_landmarks[0] = float("nan")
    return batch


def weights(training):
    parts = {"model": training.model, "discriminator": training.discriminator}
    return {
        f"{part}.{name}": value.clone() for part, network in parts.items() for name, value in network.named_parameters()
    }


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_looking_later_changes_nothing_while_all_is_finite(preset):
    metrics, found = [], []
    for deferred in (False, True):
        training = training_of(preset, deferred)
        for step in range(6):
            training.step(synthetic_batch(step))
        metrics.append(training.metrics())
        found.append(weights(training))
    assert metrics[0] == metrics[1]
    assert_equal(*found)


@pytest.mark.parametrize("preset", ["small", "paper"])
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_no_weight_changes_from_the_bad_step_on(preset, clip):
    training = training_of(preset, optimiser={"grad_clip_norm": clip})
    training.step(synthetic_batch(0))
    training.step(synthetic_batch(1))
    before = weights(training)
    with pytest.raises(NonFiniteLoss, match="step 2: the loss A/reconstruction") as error:
        for step in range(2, 12):
            training.step(spoilt_batch(step) if step == 2 else synthetic_batch(step))
    assert training.steps_done == 2 + DeferredCheck.LAG  # the host learned of it so many steps later
    after = weights(training)
    generators = [name for name in after if name.startswith("model.")]
    assert_equal({name: before[name] for name in generators}, {name: after[name] for name in generators})
    if preset == "small":  # in preset `paper` D learns first, and its losses were finite
        assert_equal(before, after)
    assert error.value.here and error.value.step == 2
    assert torch.equal(error.value.batch.source, synthetic_batch(2).source)


def test_a_gradient_that_is_not_finite_holds_the_update_back_too():
    training = training_of()
    training.step(synthetic_batch(0))
    before = weights(training)
    first = next(training.model.generator.parameters())
    hook = first.requires_grad_().register_hook(lambda gradient: gradient * float("inf"))
    training.step(synthetic_batch(1))
    hook.remove()
    with pytest.raises(NonFiniteLoss, match="step 1: the loss G/gradient"):
        training.settle()
    assert_equal(before, weights(training))


def test_settling_tells_at_once_and_metrics_are_never_spoilt():
    training = training_of()
    training.step(spoilt_batch(0))
    with pytest.raises(NonFiniteLoss, match="A/reconstruction"):
        training.metrics()


def test_no_checkpoint_is_written_after_a_bad_step(monkeypatch, tmp_path):
    def deferred(*arguments):
        training = trainer.prepare(*arguments)
        training.check = DeferredCheck(training.device)
        return training

    monkeypatch.setattr("icface.training.fit.prepare", deferred)
    config = tiny_config("small").merge(CHANGES["small"])  # a checkpoint every 2 steps
    saved = []
    with pytest.raises(NonFiniteLoss, match="step 2"):
        fit(
            config,
            BundleConfig(model=config.model, schema=AttributeSchema.default()),
            TrainingData(
                batches=(spoilt_batch(step) if step == 2 else synthetic_batch(step) for step in range(6)),
                identities=3,
                deviations=np.full(20, 0.2, np.float32),
            ),
            hooks=Hooks(on_checkpoint=lambda step, copied: saved.append(step)),
        )
    assert saved == [2]


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_a_step_never_waits_for_the_device(preset):
    batches = [synthetic_batch(step) for step in range(DeferredCheck.LAG + 2)]

    def waits(training):
        return count(lambda: [training.step(batch) for batch in batches], {}).waits.total()

    assert waits(training_of(preset, deferred=False)) >= 2 * len(batches)
    assert waits(training_of(preset)) == 0


def bad_slice(rank: int, ranks: int, folder: Path) -> None:
    training = training_of()
    before = weights(training)
    training.step((spoilt_batch if rank == 1 else synthetic_batch)(0, 2, 2 * rank))
    with pytest.raises(NonFiniteLoss, match="A/reconstruction") as error:
        training.metrics()
    assert_equal(before, weights(training))
    (folder / f"{rank}").write_text(str(error.value.here))


def test_a_bad_slice_holds_every_rank_back(tmp_path: Path):
    on_ranks(2, bad_slice, tmp_path)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["False", "True"]
