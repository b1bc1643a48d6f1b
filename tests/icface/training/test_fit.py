import numpy as np
import pytest
import torch
from made_up_pairs import made_up_batch, tiny_config, tiny_training

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig
from icface.errors import IcfaceError
from icface.training.checkpoint import load_state
from icface.training.fit import Hooks, NonFiniteLoss, fit


def run(config, first=0, **options):
    return fit(
        config,
        BundleConfig(model=config.model, schema=AttributeSchema.default()),
        (made_up_batch(step) for step in range(first, config.steps)),
        identities=3,
        deviations=np.full(20, 0.2, np.float32),
        **options,
    )


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_the_same_seed_gives_the_same_weights_and_losses(preset):
    logs = ([], [])
    models = [
        run(tiny_config(preset), hooks=Hooks(on_log=lambda step, numbers, log=log: log.append((step, numbers))))
        for log in logs
    ]
    assert_equal(weights(models[0]), weights(models[1]))
    for (step, first), (_, second) in zip(*logs, strict=True):
        timed = {"images_per_second", "seconds_left"}
        assert {k: v for k, v in first.items() if k not in timed} == {k: v for k, v in second.items() if k not in timed}
        assert step % 2 == 0


def test_another_seed_gives_other_weights():
    one, other = run(tiny_config(seed=0)), run(tiny_config(seed=1))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_resuming_continues_to_the_bit(tmp_path, preset):
    config = tiny_config(preset)
    whole = run(config, hooks=Hooks(on_checkpoint=lambda step, save: save(tmp_path / str(step))))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4", "6"]
    resumed = run(config, first=4, resume=tmp_path / "4")
    assert_equal(weights(whole), weights(resumed))


def test_stopping_writes_a_checkpoint_and_ends(tmp_path):
    saved = []

    def checkpoint(step, save):
        save(tmp_path / str(step))
        saved.append(step)

    asked = iter([False, False, True])
    run(tiny_config(checkpoint_every=100), hooks=Hooks(on_checkpoint=checkpoint, should_stop=lambda: next(asked)))
    assert saved == [3]
    assert load_state(tmp_path / "3")["steps_done"] == 3


def test_a_checkpoint_is_written_when_its_time_has_come(tmp_path):
    saved = []
    hooks = Hooks(on_checkpoint=lambda step, save: saved.append(step))
    run(tiny_config(checkpoint_every=100, checkpoint_minutes=1e-9), hooks=hooks)
    assert saved == [1, 2, 3, 4, 5, 6]
    saved.clear()
    run(tiny_config(checkpoint_every=4), hooks=hooks)  # 5 minutes are not over
    assert saved == [4, 6]


def test_sample_grids_show_four_columns():
    grids = {}
    run(tiny_config(), hooks=Hooks(on_images=lambda step, grid: grids.update({step: grid})))
    assert sorted(grids) == [3, 6]
    grid = grids[3]
    assert grid.shape == (4 * 32, 4 * 32, 3) and grid.dtype == np.uint8
    first = made_up_batch(0)
    np.testing.assert_array_equal(grid[:32, :32], first.source[0].permute(1, 2, 0))
    np.testing.assert_array_equal(grid[:32, 96:], first.driving[0].permute(1, 2, 0))


def test_training_brings_the_reconstruction_down():
    losses = []
    run(
        tiny_config(steps=100, log_every=10),
        hooks=Hooks(on_log=lambda step, numbers: losses.append(numbers["A/reconstruction"])),
    )
    assert losses[-1] < 0.8 * losses[0]


def test_a_loss_that_is_not_finite_stops_and_names_itself():
    training = tiny_training(tiny_config())
    with torch.no_grad():
        next(training.model.generator.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match="A/reconstruction") as error:
        training.step(made_up_batch(0))
    assert torch.equal(error.value.batch.source, made_up_batch(0).source)


def test_too_little_data_is_told():
    config = tiny_config()
    with pytest.raises(IcfaceError, match="ended after 2 of 6 steps"):
        fit(
            config,
            BundleConfig(model=config.model, schema=AttributeSchema.default()),
            [made_up_batch(0), made_up_batch(1)],
            identities=3,
            deviations=np.full(20, 0.2, np.float32),
        )


def test_a_missing_or_broken_checkpoint_is_told(tmp_path):
    with pytest.raises(IcfaceError, match="holds no checkpoint"):
        load_state(tmp_path)
    (tmp_path / "training.pt").write_bytes(b"junk")
    with pytest.raises(IcfaceError, match="cannot be read"):
        load_state(tmp_path)


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_each_phase_changes_its_own_networks_alone(preset):
    training = tiny_training(tiny_config(preset))
    from icface.training.phases import Step

    step = Step(0, made_up_batch(0).to(torch.device("cpu")), 0.0)
    networks = ("neutraliser", "generator", "discriminator")
    for phase in training.phases:
        before = {name: [p.clone() for p in getattr(training.networks, name).parameters()] for name in networks}
        training._run(phase, step, made_up_batch(0))
        for name in networks:
            now = list(getattr(training.networks, name).parameters())
            changed = any(not torch.equal(a, b) for a, b in zip(before[name], now, strict=True))
            assert changed == (name in phase.networks), (phase.name, name)
