"""The training step: `python benchmarks/train_step.py [--batch N] [--size S] [--device cuda]`.

In one run, images a second (pairs of the batch) of
- ours: `Training.step` of preset `icface` as it trains (phases, autocast, channels-last, fused optimisers; on a GPU
  compiled),
- eager: the same mathematics and forwards with PyTorch's default flags (float32, contiguous, no fused optimiser),
- released: eager, with the forwards that the released code repeats: D once for each of its three heads' losses, G_N
  again for its own terms, both generators again for D,
- bound: the step's convolutions alone, forward and backward, in bfloat16 and channels-last.

Goals on a Hopper GPU: 3 times eager, 5 times released, 0.7 of the bound; on 2 CPU cores 1.5 times released. Printed
too: the share of the matmul peak (measured here, bfloat16) and the five largest costs.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from measuring import side_by_side, surroundings, verdict
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig
from icface.networks.discriminator import DiscriminatorOutput
from icface.training.batch import Batch
from icface.training.config import TrainConfig
from icface.training.losses import Readings, Terms
from icface.training.phases import Networks, Step
from icface.training.trainer import Training, prepare

IDENTITIES = 100
Convolution = tuple[tuple[int, ...], tuple[int, ...], int, int, bool, bool]
"""Shapes of input and weight, stride, padding, and whether the input's and the weight's gradients are needed."""


def synthetic_batch(count: int, size: int, seed: int = 0) -> Batch:
    """Noise in the shapes of a batch: nothing here depends on what is seen."""
    schema, rng = AttributeSchema.default(), np.random.default_rng(seed)
    kinds: dict[str, Callable[[], np.ndarray]] = {
        "identity": lambda: rng.integers(0, IDENTITIES, count),
        "has_neutral": lambda: rng.random(count) < 0.5,
    }
    for name in ("source", "driving", "neutral"):
        kinds[name] = lambda: rng.integers(0, 255, (count, size, size, 3), np.uint8).transpose(0, 3, 1, 2)
    for name in ("source_encoded", "driving_encoded"):
        kinds[name] = lambda: rng.random((count, len(schema)), np.float32)
    for name in ("source_measured", "driving_measured"):
        kinds[name] = lambda: rng.random((count, len(schema))) < 0.9
    landmarks = lambda: rng.random((count, 68, 2), np.float32)  # noqa: E731 - the default of what is left
    return Batch(**{name: torch.from_numpy(kinds.get(name, landmarks)()) for name in Batch.__dataclass_fields__})


class OncePerHead(nn.Module):
    """D run anew for each of its heads; the same numbers and gradients."""

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, *inputs: Tensor) -> DiscriminatorOutput:
        realness, attributes, identity = (self.discriminator(*inputs) for _ in range(3))
        return DiscriminatorOutput(realness.realness, attributes.attributes, identity.identity, realness.features)

    def __getattr__(self, name: str) -> object:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("discriminator"), name)


class Repeating(Networks):
    """The forwards that the released code repeats."""

    def _neutral_terms(self, step: Step, neutral: Tensor, output: DiscriminatorOutput, readings: Readings) -> Terms:
        return super()._neutral_terms(step, self.neutralise(step.batch), output, readings)

    def _discriminator(self, step: Step) -> Terms:
        step.neutral = self.neutralise(step.batch)
        step.animated = self.animate(step, step.neutral)
        return super()._discriminator(step)


def training_of(config: TrainConfig, device: torch.device) -> Training:
    bundle = BundleConfig(model=config.model, schema=AttributeSchema.default())
    return prepare(config, bundle, IDENTITIES, np.full(20, 0.2, np.float32), device)


def plainly(training: Training) -> Training:
    """PyTorch's defaults: weights in the order they are made in, optimisers that are not fused."""
    for network in (training.model, training.discriminator):
        network.to(memory_format=torch.contiguous_format)
    for name, optimiser in training.optimisers.items():
        groups = [{**group, "fused": None, "foreach": None} for group in optimiser.param_groups]
        training.optimisers[name] = type(optimiser)(groups)  # type: ignore[call-arg]
    return training


def repeating(training: Training) -> Training:
    networks = training.networks
    networks.__class__ = Repeating
    networks.discriminator = OncePerHead(networks.discriminator)  # type: ignore[assignment]
    training.phases = networks.phases()
    return training


def convolutions(training: Training, batch: Batch) -> Counter[Convolution]:
    """Every convolution of one step, and how often."""
    found: Counter[Convolution] = Counter()

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Conv2d)
        x, learns = inputs[0], torch.is_grad_enabled()
        shapes = tuple(x.shape), tuple(module.weight.shape)
        needs = learns and x.requires_grad, learns and module.weight.requires_grad
        found[*shapes, module.stride[0], int(module.padding[0]), *needs] += 1

    modules = [*training.model.modules(), *training.discriminator.modules()]
    hooks = [module.register_forward_pre_hook(note) for module in modules if isinstance(module, nn.Conv2d)]
    training.step(batch)
    for hook in hooks:
        hook.remove()
    return found


def operations(found: Counter[Convolution]) -> float:
    """Floating point operations of the convolutions, a multiplication and an addition apart."""
    total = 0.0
    for (x, weight, stride, padding, *needs), count in found.items():
        side = [(x[axis] + 2 * padding - weight[axis]) // stride + 1 for axis in (2, 3)]
        once = 2 * x[0] * side[0] * side[1] * float(np.prod(weight))
        total += once * (1 + sum(needs)) * count
    return total


def alone(found: Counter[Convolution], device: torch.device) -> Callable[[], None]:
    """The convolutions by themselves, in bfloat16 and channels-last."""
    work = []
    for (x, weight, stride, padding, *needs), count in found.items():
        image, kernel = (
            torch.randn(shape, device=device, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
            for shape in (x, weight)
        )
        settings = (None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1)
        gradient = torch.randn_like(torch.ops.aten.convolution(image, kernel, *settings))
        work.append((image, kernel, settings, gradient, [*needs, False], count))

    def run() -> None:
        for image, kernel, settings, gradient, mask, count in work:
            for _ in range(count):
                torch.ops.aten.convolution(image, kernel, *settings)
                if any(mask):
                    torch.ops.aten.convolution_backward(gradient, image, kernel, None, *settings[1:], mask)

    return run


def matmul_peak(device: torch.device) -> float:
    """Operations a second of a large bfloat16 matrix product."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / side_by_side({"matmul": lambda: a @ b}, 5, device)["matmul"]


def largest_costs(training: Training, batch: Batch, count: int = 5) -> list[str]:
    activities = [ProfilerActivity.CPU]
    if training.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as recorded:
        training.step(batch)
    name = "self_device_time_total" if training.device.type == "cuda" else "self_cpu_time_total"
    averages = sorted(recorded.key_averages(), key=lambda entry: getattr(entry, name), reverse=True)
    total = sum(getattr(entry, name) for entry in averages)
    return [f"{getattr(entry, name) / total:6.1%}  {entry.key} x {entry.count}" for entry in averages[:count]]


def main() -> None:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--batch", type=int, default=32 if cuda else 4)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8 if cuda else 1, help="steps a turn; R1 comes every 8th")
    parser.add_argument("--rounds", type=int, default=5 if cuda else 3)
    options = parser.parse_args()
    device = torch.device(options.device)
    print(f"{surroundings(device)}; batch {options.batch}, {options.size} px")
    batch = synthetic_batch(options.batch, options.size)
    preset = TrainConfig.preset("icface")
    # The pseudo target from the first step on, as after the first tenth of a training.
    config = replace(
        preset,
        model=replace(preset.model, size=options.size),
        loss=replace(preset.loss, pseudo_target_start=0.0),
        compile=device.type == "cuda",
    )
    eager = replace(config, precision="float32", compile=False)
    trainings = {
        "ours": training_of(config, device),
        "eager": plainly(training_of(eager, device)),
        "released": repeating(plainly(training_of(eager, device))),
    }

    def steps(training: Training) -> Callable[[], None]:
        return lambda: [training.step(batch) for _ in range(options.steps)] and None

    found = convolutions(training_of(replace(config, compile=False), device), batch)
    bound = alone(found, device)
    work = {name: steps(training) for name, training in trainings.items()}
    work["bound"] = lambda: [bound() for _ in range(options.steps)] and None
    seconds = {name: each / options.steps for name, each in side_by_side(work, options.rounds, device).items()}
    for name, each in seconds.items():
        print(f"{name}: {options.batch / each:.2f} images/s, {1000 * each:.0f} ms a step")
    goals = {"eager": 3.0, "released": 5.0} if device.type == "cuda" else {"released": 1.5}
    for name in ("eager", "released"):
        ratio = seconds[name] / seconds["ours"]
        print(f"times {name}: {verdict(ratio, goals[name]) if name in goals else f'{ratio:.2f}'}")
    share = seconds["bound"] / seconds["ours"]
    print(f"of the bound: {verdict(share, 0.7) if device.type == 'cuda' else f'{share:.2f}'}")
    peak = matmul_peak(device)
    print(f"share of the matmul peak ({peak / 1e12:.2f} Tflop/s): {operations(found) / seconds['ours'] / peak:.1%}")
    print("largest costs of our step:", *largest_costs(trainings["ours"], batch), sep="\n")


if __name__ == "__main__":
    main()
