from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.synthetic_pairs import synthetic_batch, synthetic_frames, tiny_config, tiny_training
from torch.utils.flop_counter import FlopCounterMode

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig
from icface.errors import IcfaceError
from icface.training import fit as fit_module
from icface.training.checkpoint import load_state
from icface.training.compiling import COMPILE_FROM, for_device
from icface.training.config import PRESETS, TrainConfig
from icface.training.finite import NonFiniteLoss
from icface.training.fit import EDITS, Hooks, TrainingData, fit
from icface.training.phases import Step
from icface.training.trainer import rate_factor


def run(config, first=0, batches=None, validation=None, calibration=(), **options):
    if batches is None:
        batches = (synthetic_batch(step) for step in range(first, config.steps))
    data = TrainingData(
        batches=batches,
        identities=3,
        deviations=np.full(20, 0.2, np.float32),
        validation=validation,
        calibration=calibration,
    )
    return fit(config, BundleConfig(model=config.model, schema=AttributeSchema.default()), data, **options)


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
        run(tiny_config(preset), hooks=Hooks(on_log=lambda step, metrics, log=log: log.append((step, metrics))))
        for log in logs
    ]
    assert_equal(weights(models[0]), weights(models[1]))
    for (step, first), (_, second) in zip(*logs, strict=True):
        timed = {"images_per_second", "seconds_left", "tflops"}
        assert {k: v for k, v in first.items() if k not in timed} == {k: v for k, v in second.items() if k not in timed}
        assert step % 2 == 0


def test_the_operations_of_a_log_interval_by_its_seconds(monkeypatch):
    clock, logged = [100.0], []

    def pass_seconds(*_):
        clock[0] += 2.0

    monkeypatch.setattr(fit_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    config = tiny_config("small").merge({"loss": {"r1": 0.0, "pseudo_target_start": 0.0}})
    hooks = Hooks(on_step=pass_seconds, on_log=lambda step, metrics: logged.append((step, metrics["tflops"])))
    run(config, hooks=hooks)
    with FlopCounterMode(display=False) as library:
        tiny_training(config).step(synthetic_batch(0))
    step = library.get_total_flops()
    # The time of a step passes after it: one has passed at the first log, and two more at each later one.
    assert logged == [(2, pytest.approx(2 * step / 2e12)), (4, pytest.approx(2 * step / 4e12)), (6, logged[1][1])]


def test_another_seed_gives_other_weights():
    one, other = run(tiny_config(seed=0)), run(tiny_config(seed=1))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_resuming_continues_to_the_bit(tmp_path, preset):
    config = tiny_config(preset)
    whole = run(config, hooks=Hooks(on_checkpoint=lambda step, copied: copied()(tmp_path / str(step))))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4", "6"]
    resumed = run(config, first=4, resume=tmp_path / "4")
    assert_equal(weights(whole), weights(resumed))


def test_stopping_writes_a_checkpoint_and_ends(tmp_path):
    saved = []

    def checkpoint(step, copied):
        copied()(tmp_path / str(step))
        saved.append(step)

    asked = iter([False, False, True])
    run(tiny_config(checkpoint_every=100), hooks=Hooks(on_checkpoint=checkpoint, should_stop=lambda: next(asked)))
    assert saved == [3]
    assert load_state(tmp_path / "3")["steps_done"] == 3


def test_a_checkpoint_is_written_when_its_time_has_come(tmp_path):
    saved = []
    hooks = Hooks(on_checkpoint=lambda step, copied: saved.append(step))
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
    first = synthetic_batch(0)
    np.testing.assert_array_equal(grid[:32, :32], first.source[0].permute(1, 2, 0))
    np.testing.assert_array_equal(grid[:32, 96:], first.driving[0].permute(1, 2, 0))


def test_edit_grids_show_what_was_seen_of_the_attributes_that_were_trained():
    grids = {}
    run(tiny_config(), hooks=Hooks(on_edits=lambda step, grid, names: grids.update({step: (grid, names)})))
    grid, names = grids[6]
    assert names[0] == "neutral"
    assert set(names[1:]) <= set(EDITS)
    assert grid.shape == (3 * 32, len(names) * 32, 3) and grid.dtype == np.uint8


def test_training_brings_the_reconstruction_down():
    # Made-up pairs differ in brightness, which no flow can change, and painting begins late.
    losses = []
    run(
        tiny_config(steps=400, log_every=10),
        hooks=Hooks(on_log=lambda step, metrics: losses.append(metrics["A/reconstruction"])),
    )
    assert np.mean(losses[-10:]) < 0.8 * losses[0]  # one batch of noise is darker than another


def test_a_loss_that_is_not_finite_stops_and_names_itself():
    training = tiny_training(tiny_config())
    with torch.no_grad():
        next(training.model.generator.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match="A/reconstruction") as error:
        training.step(synthetic_batch(0))
    assert torch.equal(error.value.batch.source, synthetic_batch(0).source)


@pytest.mark.parametrize("changes", [{"loss": {"r1": 0.0}}, {"loss": {"feature_matching": 1.0, "gan": "hinge"}}])
def test_accumulated_gradients_are_those_of_the_whole_batch(changes):
    """16 pairs at once, and 2 parts of 8; about a third of the attributes is null, unevenly over the parts."""
    gradients = []
    for accumulate in (1, 2):
        config = tiny_config("icface", accumulate=accumulate, data={"batch_size": 16}, precision="float32").merge(
            changes
        )
        training = tiny_training(config.merge({"model": {"width": 8, "discriminator_width": 8}}))
        training.networks.losses.attribute_mask[5:] = 0
        training.step(synthetic_batch(0, 16))
        gradients.append(
            {
                f"{name}.{key}": parameter.grad
                for name, network in training.networks.learners.items()
                for key, parameter in network.named_parameters()
                if parameter.grad is not None
            }
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)
    assert sum(bool(gradient.any()) for gradient in gradients[0].values()) > 0.8 * len(gradients[0])


def test_parts_that_do_not_divide_the_share_are_told():
    training = tiny_training(tiny_config(accumulate=2))
    with pytest.raises(IcfaceError, match="3 pairs a step"):
        training.step(synthetic_batch(0, 3))


@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize("preset", ["icface", "paper"])
def test_every_size_builds_and_steps(preset, size):
    config = tiny_config(preset, model={"size": size, "width": 4, "discriminator_width": 4}, data={"batch_size": 2})
    training = tiny_training(config)
    batch = synthetic_batch(0, 2)
    larger = {name: getattr(batch, name).repeat(1, 1, size // 32, size // 32) for name in ("source", "driving")}
    training.step(replace(batch, **larger, neutral=larger["source"]))
    assert all(np.isfinite(value) for value in training.metrics().values())


def test_a_compiler_that_fails_is_said_in_one_line(monkeypatch):
    def broken(graph, inputs):
        raise AssertionError("no such kernel\nand more")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **options: real(network, backend=broken, **options))
    training = tiny_training(tiny_config("icface", compile="always"))
    with pytest.raises(IcfaceError, match=r"\(AssertionError: no such kernel\); train with --compile never") as said:
        training.step(synthetic_batch(0))
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("preset", ["icface", "paper"])
def test_compiled_networks_give_the_same_losses(preset, monkeypatch):
    """Traced as for any backend; the code generator behind it would take minutes here. R1 runs on the plain D."""
    compiled = []
    real = torch.compile

    def trace(network, **options):
        compiled.append(network)
        return real(network, backend="aot_eager", **options)

    monkeypatch.setattr(torch, "compile", trace)
    logs = []
    for compile in ("never", "always"):
        config = tiny_config(preset, compile=compile, precision="float32", model={"dropout": 0.0})
        training = tiny_training(config)
        for step in range(2):
            training.step(synthetic_batch(step))
        logs.append(training.metrics())
    assert training.discriminator in compiled
    blocks = [type(getattr(each, "__self__", each)).__name__ for each in compiled]
    # Of each generator: its one block and, of a `warp` network, a convolution down, one up, and the pixels.
    block = {"icface": ["ModulatedBlock", "ModulatedConv", "WarpGenerator"], "paper": ["ResidualBlock"]}[preset]
    assert all(blocks.count(name) >= 2 for name in block)
    assert sum(blocks.count(name) for name in block) == len(blocks) - 1
    assert logs[0].keys() == logs[1].keys() and "D/R1" in logs[0]
    for name, value in logs[0].items():
        assert logs[1][name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_auto_follows_the_device_and_the_steps():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    long, short = (TrainConfig(steps=steps, graphs="never") for steps in (COMPILE_FROM, COMPILE_FROM - 1))
    decided = [(each.precision, each.compile) for each in (for_device(long, cpu), for_device(long, gpu))]
    assert decided == [("float32", "never"), ("bf16", "always")]
    assert for_device(short, gpu).compile == for_device(replace(long, graphs="auto"), gpu).compile == "never"
    asked = TrainConfig(precision="float32", compile="always")
    assert for_device(asked, cpu) == for_device(asked, gpu) == asked
    assert TrainConfig().merge({"compile": True}).compile == "always"  # stored by version 0.1
    # A CPU without bfloat16 emulates it, so no preset asks for it everywhere.
    assert {preset.precision for preset in PRESETS.values()} == {"auto"}


def test_clipping_bounds_a_phases_gradient():
    training = tiny_training(tiny_config(optimiser={"grad_clip_norm": 1e-3}))
    training.step(synthetic_batch(0))
    norms = [p.grad.norm() for p in training.discriminator.parameters() if p.grad is not None]
    assert torch.stack(norms).norm().item() <= 1.001e-3


def test_the_papers_optimisers():
    optimisers = tiny_training(tiny_config("paper")).optimisers
    for name in ("neutraliser", "generator", "discriminator"):
        assert isinstance(optimisers[name], torch.optim.RMSprop)
        assert optimisers[name].defaults["alpha"] == 0.99
    assert isinstance(optimisers["encoder"], torch.optim.Adam)
    assert optimisers["encoder"].defaults["betas"][0] == 0.5
    assert {group["lr"] for o in optimisers.values() for group in o.param_groups} == {2e-4}
    bare = tiny_training(tiny_config("paper", model={"encoder": False}))
    assert sorted(bare.optimisers) == ["discriminator", "generator", "neutraliser"]
    bare.step(synthetic_batch(0))


def test_the_papers_phases_and_terms():
    training = tiny_training(tiny_config("paper", loss={"perceptual": 0.1}), perceptual=torch.nn.L1Loss())
    step = Step(0, synthetic_batch(0).to(torch.device("cpu")), 0.0)
    terms = {phase.name: sorted(phase.terms(step)) for phase in training.phases}
    judged = ["adversarial", "attribute", "identity"]
    assert list(terms) == ["D", "A", "N"]
    assert terms["D"] == ["D/R1", *(f"D/{name}" for name in judged)]
    assert terms["A"] == [*(f"A/{name}" for name in judged), "A/reconstruction"]
    assert terms["N"] == [*(f"N/{name}" for name in judged), "N/perceptual", "N/reanimation", "N/reconstruction"]
    assert training.networks.pseudo_ramp(0) == 1.0


def test_rates_fall_linearly_over_the_second_half():
    config = tiny_config("paper", steps=100)
    assert [rate_factor(config, number) for number in (0, 49, 50, 75, 99)] == pytest.approx([1, 1, 1, 0.5, 0.02])


def test_an_attribute_that_d_does_not_read_teaches_no_generator():
    logs = []
    frames = synthetic_frames(24)
    run(
        tiny_config(validate_every=3, steps=6, loss={"readable_from": 1.0}),
        validation=frames,
        hooks=Hooks(on_log=lambda step, metrics: logs.append((step, metrics))),
    )
    assert all(metrics["A/attribute"] == 0 == metrics["N/attribute"] for _, metrics in logs if "A/attribute" in metrics)
    found = [metrics for _, metrics in logs if "N/variance" in metrics]
    assert [step for step, metrics in logs if "N/variance" in metrics] == [3, 6]
    assert -1 <= found[-1]["D/r/AU12"] <= 1 and found[-1]["N/units"] > 0


def test_what_is_heard_resumes(tmp_path):
    config = tiny_config(validate_every=2, loss={"readable_from": 0.001})
    hooks = Hooks(on_checkpoint=lambda step, copied: copied()(tmp_path / str(step)))
    whole = run(config, validation=synthetic_frames(12), hooks=hooks)
    attribute_mask = load_state(tmp_path / "4")["heard"]
    assert 0 < attribute_mask.sum() < len(attribute_mask)
    assert_equal(weights(whole), weights(run(config, first=4, validation=synthetic_frames(12), resume=tmp_path / "4")))


def test_batch_norms_are_estimated_anew_for_the_averaged_weights():
    config = tiny_config("paper", steps=2, model={"encoder": False})
    calibration = [synthetic_batch(step) for step in range(3)]
    copied, estimated = run(config), run(config, calibration=calibration)
    source = torch.cat([batch.source for batch in calibration]).float() / 127.5 - 1
    stem = estimated.neutraliser.model[:2]
    encoded = torch.as_tensor(estimated.schema.neutral_encoded()).expand(len(source), -1)
    planes = encoded[:, :, None, None].expand(-1, -1, *source.shape[2:])
    with torch.no_grad():
        seen = stem(torch.cat([source, planes], dim=1))
    norm = estimated.neutraliser.model[2]
    torch.testing.assert_close(norm.running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(copied.neutraliser.model[2].running_mean, norm.running_mean, rtol=1e-2)
    torch.testing.assert_close(copied.neutraliser.model[1].weight, estimated.neutraliser.model[1].weight)


def test_too_little_data_is_told():
    config = tiny_config()
    with pytest.raises(IcfaceError, match="ended after 2 of 6 steps"):
        run(config, batches=[synthetic_batch(0), synthetic_batch(1)])


def test_a_missing_or_broken_checkpoint_is_told(tmp_path):
    with pytest.raises(IcfaceError, match="holds no checkpoint"):
        load_state(tmp_path)
    (tmp_path / "training.pt").write_bytes(b"junk")
    with pytest.raises(IcfaceError, match="cannot be read"):
        load_state(tmp_path)


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_each_phase_changes_its_own_networks_alone(preset):
    training = tiny_training(tiny_config(preset))
    step = Step(0, synthetic_batch(0).to(torch.device("cpu")), 0.0)
    learners = training.networks.learners
    networks = ["neutraliser", "generator", "discriminator"] + (["encoder"] if preset == "paper" else [])
    assert sorted(learners) == sorted(networks)
    for phase in training.phases:
        before = {name: [p.clone() for p in learners[name].parameters()] for name in networks}
        training._apply(training._backward(phase, [step], synthetic_batch(0)))
        for name in networks:
            now = list(learners[name].parameters())
            changed = any(not torch.equal(a, b) for a, b in zip(before[name], now, strict=True))
            assert changed == (name in phase.networks), (phase.name, name)


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_saving_changes_no_output_where_an_attribute_was_not_trained(preset):
    # Its code never varies, so its weights would become a bias that silencing takes away again.
    shares = dict.fromkeys(AttributeSchema.default().names, 1.0) | {"AU14": 0.0, "AU23": 0.0}
    schema = AttributeSchema.default().with_measured_shares(shares)
    training = tiny_training(tiny_config(preset, optimiser={"ema_halflife": 0.0}), schema=schema)
    for step in range(3):
        training.step(synthetic_batch(step))
    model = training.average.model
    encoded = torch.as_tensor(schema.neutral_encoded())[None].expand(2, -1)
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        before = model(image, encoded, encoded)
        model.silence_untrained()
        assert torch.equal(model(image, encoded, encoded), before)
    learned = training.model.generator.attribute_weights()[0]
    assert not learned[0][:, learned[1] + schema.index("AU14")].any()
    assert learned[0][:, learned[1] + schema.index("AU12")].any()
