"""A recorded step does what the step does, and what changes from step to step reaches it.

CUDA graphs need a GPU. Here the recorder is one that runs the recorded work again, from the inputs that it was recorded
with and as of the step that it was recorded in.
"""

import copy
import logging

import pytest
import torch
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training

from icface.training import trainer
from icface.training.finite import DeferredCheck, NonFiniteLoss
from icface.training.graphs import WARM_UP, StepGraphs, can_record

STEPS = 24
RATES = {"generator_lr": 2.0**-12, "discriminator_lr": 2.0**-11}
CHANGES = {"steps": STEPS, "optimiser": RATES, "loss": {"pseudo_target_start": 0.4, "r1_interval": 2}}
KINDS = 4
"""Steps before the pseudo target and with it, with R1 and without."""


class Again:
    """Runs recorded work again, and puts its results where the recording said that they come to."""

    def __init__(self, training):
        self.training = training
        self.recorded = self.replays = 0

    def warm(self, work):
        return work()

    def record(self, work):
        training = self.training
        self.recorded += 1
        rates = [[group["lr"] for group in o.param_groups] for o in training.optimisers.values()]
        before, random = copy.deepcopy(training.state()), torch.get_rng_state()
        outcomes, seen, step = work(), training.check.seen, training.steps_done
        training.load(before)  # a recording changes no weight
        torch.set_rng_state(random)
        for optimiser, of_groups in zip(training.optimisers.values(), rates, strict=True):
            for group, rate in zip(optimiser.param_groups, of_groups, strict=True):
                group["lr"] = rate

        def replay():
            self.replays += 1
            now, training.steps_done = training.steps_done, step
            training.check.seen = []
            made = work()
            training.steps_done = now
            for first, later in ((outcomes, made), (seen, training.check.seen)):
                for (_, kept), (_, value) in zip(first, later, strict=True):
                    kept.copy_(value)

        return replay, outcomes


class Refuses(Again):
    def record(self, work):
        raise RuntimeError("operation not permitted when stream is capturing\nmore words")


@pytest.fixture(autouse=True)
def rates_that_float32_holds(monkeypatch):
    """On the device rates are float32; without graphs they are numbers of Python."""
    monkeypatch.setattr(trainer, "rate_factor", lambda config, number: 2.0 ** -(number // 7))


def training_of(recorder=None, **changes):
    training = tiny_training(tiny_config("icface").merge(CHANGES).merge(changes))
    training.check = DeferredCheck(training.device)
    if recorder is not None:
        training.graphs = StepGraphs(training.optimisers, training.check, training.device, recorder(training))
    return training


def weights(training):
    return {
        **training.model.state_dict(),
        **{f"average.{name}": value for name, value in training.average.model.state_dict().items()},
        **{f"D.{name}": value for name, value in training.discriminator.state_dict().items()},
    }


@pytest.mark.parametrize("accumulate", [1, 2])
def test_recorded_steps_change_no_weight_and_no_number(accumulate):
    trainings = [training_of(recorder, accumulate=accumulate) for recorder in (None, Again)]
    logs = [[], []]
    for training, log in zip(trainings, logs, strict=True):
        for step in range(STEPS):
            training.step(synthetic_batch(step))
            if step % 5 == 4:
                log.append(training.metrics())
    recorder = trainings[1].graphs._recorder
    assert recorder.recorded == KINDS
    assert recorder.replays == STEPS - KINDS * WARM_UP
    assert logs[0] == logs[1]
    plain, recorded = map(weights, trainings)
    for name, value in plain.items():
        assert torch.equal(value, recorded[name]), name


def test_rates_are_read_from_the_device_and_saved_as_numbers():
    training = training_of(Again)
    rates = []
    for step in range(STEPS):
        training.step(synthetic_batch(step))
        rates.append(training.optimisers["generator"].param_groups[0]["lr"])
    # The first step's is a number when the step begins, and a tensor from then on, whatever is recorded.
    assert len({id(rate) for rate in rates}) == 1 and isinstance(rates[0], torch.Tensor)
    saved = training.state()["optimisers"]["generator"]["param_groups"][0]["lr"]
    assert type(saved) is float and saved == 2.0**-12 * 2.0 ** -((STEPS - 1) // 7)


def test_a_recorded_step_that_is_not_finite_changes_no_weight():
    # As in test_finite.py: weights of regions that are no numbers spoil no flow.
    training = training_of(Again, loss={"landmarks": 0.0, "painted": 0.0, "regions": 1.0})
    for step in range(12):
        training.step(synthetic_batch(step))
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    spoilt = synthetic_batch(12)
    spoilt.driving_landmarks[0] = float("nan")
    with pytest.raises(NonFiniteLoss, match="step 12: the loss A/") as error:
        training.step(spoilt)
        training.step(synthetic_batch(13))
        training.settle()
    assert torch.equal(error.value.batch.source, spoilt.source)
    for name, value in training.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so(caplog):
    plain, refused = training_of(), training_of(Refuses)
    with caplog.at_level(logging.WARNING):
        for step in range(8):
            plain.step(synthetic_batch(step))
            refused.step(synthetic_batch(step))
    (record,) = caplog.records
    assert "not recorded as CUDA graphs" in record.message and record.message.endswith("stream is capturing")
    assert plain.metrics() == refused.metrics()


def test_a_checkpoint_of_recorded_steps_goes_on_in_a_training_that_records_none():
    first, second = training_of(Again), training_of()
    for step in range(16):
        first.step(synthetic_batch(step))
    second.load(copy.deepcopy(first.state()))
    for step in range(16, 18):
        first.step(synthetic_batch(step))
        second.step(synthetic_batch(step))
    for name, value in weights(first).items():
        assert torch.equal(value, weights(second)[name]), name


def test_only_steps_that_can_be_recorded_are():
    assert can_record(tiny_config("icface"))
    assert not can_record(tiny_config("icface", graphs="never"))
    assert not can_record(tiny_config("paper"))
    assert not can_record(tiny_config("icface", optimiser={"name": "rmsprop"}))
    assert tiny_training(tiny_config("icface")).graphs is None  # on a CPU
