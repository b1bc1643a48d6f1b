"""Operations a second: counted as by hand and as by the library, a step at a time, and without any influence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from icface.training.operations import OperationCounter


def test_a_convolution_and_a_linear_layer_forward_and_backward():
    convolution, linear = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(16, 5)
    pictures, rows = torch.randn(2, 3, 8, 8), torch.randn(6, 16, requires_grad=True)
    # Multiplications of each output times 2; backward again for the weights, and for the inputs that want gradients.
    of_convolution, of_linear = 2 * (2 * 4 * 8 * 8) * (3 * 3 * 3), 2 * (6 * 5) * 16
    counter = OperationCounter(10.0)
    for _ in range(3):
        with counter.counting("convolution"):
            convolution(pictures).sum().backward()
    with counter.counting("linear"):
        linear(rows).sum().backward()
    assert counter.rate(14.0) == (3 * 2 * of_convolution + 3 * of_linear) / 4
    assert counter.rate(15.0) == 0


def test_work_that_fails_is_not_counted():
    counter = OperationCounter(0.0)
    for failing in (True, False):
        try:
            with counter.counting("product"):
                torch.ones(2, 2) @ torch.ones(2, 2)
                if failing:
                    raise ValueError
        except ValueError:
            pass
    assert counter.rate(1.0) == 2 * 2 * 2 * 2


@pytest.mark.parametrize("preset", ["icface", "small", "paper"])
@pytest.mark.parametrize("compiled", ["never", "always"])
def test_the_steps_of_a_training_as_the_library_counts_them(preset: str, compiled: str):
    """With and without pseudo targets. What is compiled is not compiled for it, which would take minutes."""
    config = tiny_config(preset).merge({"steps": 20, "loss": {"r1": 0.0, "pseudo_target_start": 0.2}})
    expected, plain, counted = (tiny_training(each) for each in (config, config, config.merge({"compile": compiled})))
    counted.operations = OperationCounter(0.0)
    found = []
    # Only the first step of a kind is counted; compiled, the second one would be compiled.
    for place, number in enumerate((0, 8) * (2 if compiled == "never" else 1), 1):
        for training in (expected, plain, counted):
            training.steps_done = number
        with FlopCounterMode(display=False) as library:
            expected.step(synthetic_batch(number))
        plain.step(synthetic_batch(number))
        counted.step(synthetic_batch(number))
        found.append(counted.operations.rate(float(place)))
        assert found[-1] == library.get_total_flops(), number
    assert found[1] > found[0], "one count for both kinds would be seen"
    # A resumed training is counted in another step than one that was not stopped, and must end with the same weights.
    assert all(map(torch.equal, plain.model.state_dict().values(), counted.model.state_dict().values()))


@pytest.mark.parametrize("preset", ["icface", "paper"])
def test_the_gradient_penalty_counts_in_the_steps_that_have_it(preset: str):
    """The library cannot count it: its hooks on modules refuse gradients of gradients."""
    training = tiny_training(tiny_config(preset).merge({"steps": 20, "loss": {"r1": 1.0, "r1_interval": 3}}))
    training.operations = OperationCounter(0.0)
    found = []
    for number in range(8, 14):
        training.steps_done = number
        training.step(synthetic_batch(number))
        found.append(training.operations.rate(number - 7.0))
    with FlopCounterMode(display=False) as library:
        training.discriminator(synthetic_batch(0).to(training.device).driving)
    assert len({found[0], found[2], found[3], found[5]}) == 1 and found[1] == found[4]
    # Forward through all heads; those of the realness backward to the pixels, and through both for the weights.
    assert 1.5 <= (found[1] - found[0]) / library.get_total_flops() <= 6


def test_a_training_that_compiles_nothing_does_not_load_pytorchs_compiler():
    """It would take two seconds of every rank's start."""
    program = """
import sys
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training
from icface.training.operations import OperationCounter
training = tiny_training(tiny_config())
training.operations = OperationCounter(0.0)
training.step(synthetic_batch(0))
training.load(training.state())
print(training.operations.rate(1.0) > 0, "torch._dynamo" in sys.modules)
"""
    tests = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])},
    )
    assert (done.returncode, done.stdout.strip()) == (0, "True False"), done.stderr
