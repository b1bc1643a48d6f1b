"""What a training step asks of the device: few passes, and no more operators and copies than were counted once."""

import pytest
import torch
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training

from benchmarks.counting import count
from icface.networks import small_maps
from icface.training import losses
from icface.training.finite import DeferredCheck

RAMPED = {"steps": 20, "precision": "float32", "loss": {"pseudo_target_start": 0.0, "feature_matching": 0.5}}


@pytest.mark.parametrize(
    ("preset", "changes", "steps"),
    # RMSprop's first steps divide rounding errors by next to nothing, so that two runs soon part.
    [("icface", {}, 20), ("paper", {"model": {"dropout": 0.0, "identity_head": "embedding"}}, 1)],
)
def test_judging_together_is_judging_one_after_the_other(preset, changes, steps, monkeypatch):
    """Losses of some steps with the same seed."""
    logs = []
    for together in (True, False):
        if not together:
            monkeypatch.setattr(losses, "_together", lambda d, pictures: [d(picture) for picture in pictures])
        training = tiny_training(tiny_config(preset).merge(RAMPED).merge(changes))
        logs.append([])
        for step in range(steps):
            training.step(synthetic_batch(step))
            logs[-1].append(training.metrics())
    for one, other in zip(*logs, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert other[name] == pytest.approx(value, rel=1e-2, abs=1e-4), name


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_products_for_convolutions_of_small_maps_change_no_loss(precision, monkeypatch):
    """Losses of some steps with the same seed, with and without them: weights that change are seen."""
    logs = []
    for largest in (small_maps.LARGEST, 0):
        monkeypatch.setattr(small_maps, "LARGEST", largest)
        training = tiny_training(tiny_config("icface").merge(RAMPED).merge({"precision": precision}))
        logs.append([])
        for step in range(10):
            training.step(synthetic_batch(step))
            logs[-1].append(training.metrics())
    for one, other in zip(*logs, strict=True):
        for name, value in one.items():
            assert other[name] == pytest.approx(value, rel=1e-2 if precision == "float32" else 5e-2, abs=1e-2), name


MOST = {"operators": 1155, "copies": 169}
"""Of one step of preset `icface` without R1; lower them when a change brings them down."""


def test_a_step_takes_no_more_passes_operators_and_copies_than_it_did(monkeypatch):
    monkeypatch.setattr(small_maps, "LARGEST", 0)  # what it does is for CPUs
    # Two levels are missing against 128 px, so there are fewer operators than `benchmarks/train_step.py --count` has.
    training = tiny_training(tiny_config("icface", loss={"pseudo_target_start": 0.0}))
    training.step(synthetic_batch(0))
    networks = {
        "neutraliser": training.model.neutraliser,
        "generator": training.model.generator,
        "discriminator": training.discriminator,
    }
    batch = synthetic_batch(1)
    counts = count(lambda: training.step(batch), networks)
    # The generator: the driving frame and the neutraliser's pseudo target. D: sources, generated and all together.
    assert counts.passes == {"neutraliser": 1, "generator": 2, "discriminator": 3}
    assert counts.pictures == {"neutraliser": 4, "generator": 8, "discriminator": 24}
    assert counts.row()["operators"] <= MOST["operators"]
    assert counts.copies <= MOST["copies"]


def test_a_step_with_the_check_of_a_gpu_waits_for_nothing():
    training = tiny_training(tiny_config("icface", loss={"pseudo_target_start": 0.0}))
    training.check = DeferredCheck(training.device)
    training.step(synthetic_batch(0))
    batch = synthetic_batch(1)
    assert count(lambda: training.step(batch), {}).waits == {}


def test_numbers_that_come_from_the_host_are_waits():
    a, index = torch.randn(3, 4), torch.tensor([0, 2])
    numbers = count(lambda: (torch.where(a > 0, a, 0.5), a[:, [1, 2]], a.new_tensor([1.0]), torch.tensor([2.0])), {})
    assert numbers.waits == {"where": 1, "__getitem__": 1, "new_tensor": 1, "tensor": 1}
    assert count(lambda: (torch.where(a > 0, a, -a), a[:, index], a[1:, 0], a.masked_fill(a > 0, 0.5)), {}).waits == {}


def test_what_is_counted():
    a = torch.randn(2, 3, 4, 4)
    layer = torch.nn.Conv2d(3, 1, 1)
    counts = count(lambda: layer(a).to(memory_format=torch.channels_last).bfloat16().sum().item(), {"layer": layer})
    assert counts.waits == {"item": 1}
    assert counts.passes == {"layer": 1} and counts.pictures == {"layer": 2}
    assert counts.operators["convolution"] == 1 and counts.operators["_to_copy"] == counts.copies >= 1
