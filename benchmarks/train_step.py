"""The training step: `python benchmarks/train_step.py [--batch N] [--size S] [--device cuda]`; torch and numpy will do.

In one run, images a second (pairs of the batch) of
- bound: the step's convolutions alone, forward and backward, in the precision of ours and channels-last,
- eager: the same mathematics and forwards with PyTorch's default flags (float32, contiguous, no fused optimiser),
- released: eager, with the forwards that the released code repeats: D once for each of its three heads' losses, G_N
  again for its own terms, both generators again for D,
- ours: `Training.step` of preset `icface` in `--precision` (phases, autocast, channels-last, fused optimisers); on a
  GPU recorded as a CUDA graph, or launched operator by operator, and both with torch.compile too,
- with the critic: the same with the face analyzer that reads pictures. Its cost a step is shown apart, and the ratios
  are without it: no baseline has one. It is left out, with the reason, where MediaPipe's weights cannot be had.

On a GPU each is printed when it is measured: a time limit loses nothing. On a CPU they take turns, since other
programs share it. `--start` measures nothing but the seconds until a compiled step has run once: cold in the first
process, from PyTorch's cache in the next. Goals on a Hopper GPU: 3 times eager, 5 times
released, 0.7 of the bound, all within 4 minutes with a cold compile; on 2 CPU cores 1.5 times released, 0.75 of the
bound. Printed too: milliseconds by phase, the share of the matmul peak (measured here) and the largest
costs; on a GPU device time, kernels and copies a step and the gap to the wall clock.

A CPU without instructions for bfloat16 emulates it: measure there with `--precision float32`.

`--count` measures no time: it counts operators, copies, waits and passes of a step, on any machine.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import counting
import numpy as np
import stand_ins  # noqa: F401  # before what is not installed everywhere
import torch
from measuring import side_by_side, surroundings, verdict
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig
from icface.errors import IcfaceError
from icface.networks import small_maps
from icface.networks.discriminator import DiscriminatorOutput
from icface.networks.warp import PICTURE
from icface.training.batch import Batch
from icface.training.config import TrainConfig
from icface.training.critic import Critic, make_critic
from icface.training.finite import DeferredCheck
from icface.training.losses import Readings, Terms
from icface.training.phases import Networks, Phase, Step
from icface.training.trainer import Training, prepare

IDENTITIES = 100
Convolution = tuple[tuple[int, ...], tuple[int, ...], int, int, bool, bool]
"""Shapes of input and weight, stride, padding, and whether the input's and the weight's gradients are needed."""


def synthetic_batch(count: int, size: int, seed: int = 0) -> Batch:
    """Noise in the shapes of a batch: nothing here depends on what is seen."""
    return Batch.example(count, size, len(AttributeSchema.default()), IDENTITIES, seed)


class OncePerHead(nn.Module):
    """D run again for each of its heads; the same numbers and gradients."""

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
        handed_on = self.neutralise(step.batch)
        step.neutral, step.animated = handed_on[:, :PICTURE], self.animate(step, handed_on)
        return super()._discriminator(step)


def training_of(config: TrainConfig, device: torch.device, critic: Critic | None = None) -> Training:
    bundle = BundleConfig(model=config.model, schema=AttributeSchema.default())
    return prepare(config, bundle, IDENTITIES, np.full(20, 0.2, np.float32), device, critic=critic)


def critic_of(config: TrainConfig, device: torch.device, landmarker: Path | None = None) -> Critic | None:
    """The critic of a data set that MediaPipe labelled; None, and a line that says why, where it cannot be had."""
    bundle = BundleConfig(model=config.model, schema=AttributeSchema.default(), analyzer={"name": "mediapipe"})
    try:
        return make_critic(config.loss, bundle, device, landmarker)
    except IcfaceError as error:
        print(f"with the critic: skipped, {error}", flush=True)
        return None


def plainly(training: Training) -> Training:
    """PyTorch's defaults: weights in the order they are made in, optimisers that are not fused and look first."""
    training.check = None
    for network in (training.model, training.discriminator):
        network.to(memory_format=torch.contiguous_format)
    for name, optimiser in training.optimisers.items():
        groups = [{**group, "fused": None, "foreach": None} for group in optimiser.param_groups]
        training.optimisers[name] = torch.optim.Adam(groups)
    return training


def repeating(training: Training) -> Training:
    networks = training.networks
    networks.__class__ = Repeating
    networks.discriminator = OncePerHead(networks.discriminator)  # type: ignore[assignment]
    training.phases = networks.phases()
    return training


def convolutions(training: Training, batch: Batch) -> Counter[Convolution]:
    """Every convolution of one step, and how often. R1's are left out: it comes with the first step and every 8th."""
    found: Counter[Convolution] = Counter()

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Conv2d)
        x, learns = inputs[0], torch.is_grad_enabled()
        shapes = tuple(x.shape), tuple(module.weight.shape)
        needs = learns and x.requires_grad, learns and module.weight.requires_grad
        found[*shapes, module.stride[0], int(module.padding[0]), *needs] += 1

    training.step(batch)
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


def alone(found: Counter[Convolution], device: torch.device, dtype: torch.dtype) -> Callable[[], None]:
    """The convolutions by themselves, channels-last."""
    work = []
    for (x, weight, stride, padding, *needs), count in found.items():
        image, kernel = (
            torch.randn(shape, device=device, dtype=dtype).to(memory_format=torch.channels_last)
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


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / side_by_side({"matmul": lambda: a @ b}, 5, device)["matmul"]


def largest_costs(training: Training, batch: Batch, steps: int = 1) -> list[str]:
    """Lines: the largest costs of a step, and on a GPU how much of it the device worked."""
    cuda = training.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as recorded:
        start = time.perf_counter()
        for _ in range(steps):
            training.step(batch)
        if cuda:
            torch.cuda.synchronize(training.device)
        wall = time.perf_counter() - start
    name = "self_device_time_total" if cuda else "self_cpu_time_total"
    averages = sorted(recorded.key_averages(), key=lambda entry: getattr(entry, name), reverse=True)
    total = sum(getattr(entry, name) for entry in averages)
    lines = [f"{getattr(entry, name) / total:6.1%}  {entry.key} x {entry.count / steps:g}" for entry in averages[:8]]
    if cuda:
        kernels = [event for event in recorded.events() if event.device_type == torch.autograd.DeviceType.CUDA]
        busy = sum(event.device_time for event in kernels) / 1e6 / steps
        copies = sum(entry.count for entry in averages if entry.key in ("aten::copy_", "aten::_to_copy")) / steps
        lines.append(
            f"a step: {1000 * busy:.1f} ms of device time in {len(kernels) / steps:.0f} kernels, {copies:.0f} copies; "
            f"wall clock {1000 * wall / steps:.1f} ms under the profiler"
        )
    return lines


def by_phase(training: Training, batch: Batch, steps: int) -> dict[str, float]:
    """Milliseconds a step of each phase's backwards and of each phase's optimisers, the device waited for each time."""
    spent: Counter[str] = Counter()
    plain = {name: getattr(training, name) for name in ("_backward", "_apply")}

    def timed(name: str) -> Callable:
        def run(first: Phase | Any, *others: object) -> object:
            start = time.perf_counter()
            result = plain[name](first, *others)
            if training.device.type == "cuda":
                torch.cuda.synchronize(training.device)
            phase = first.name if isinstance(first, Phase) else f"{first.phase.name} optimiser"
            spent[phase] += time.perf_counter() - start
            return result

        return run

    for name in plain:
        setattr(training, name, timed(name))
    for _ in range(steps):
        training.step(batch)
    for name in plain:
        delattr(training, name)
    return {name: 1000 * seconds / steps for name, seconds in spent.items()}


def counted(config: TrainConfig, batch: Batch, critic: Critic | None = None) -> counting.Counts:
    """What one step asks of its device, as it would on a GPU: the finite check stays there, R1 is not due."""
    training = training_of(replace(config, precision="bf16", compile="never"), torch.device("cpu"), critic)
    training.check = DeferredCheck(training.device)
    small_maps.LARGEST = 0  # what it does is for CPUs
    training.step(batch)
    networks = {
        "neutraliser": training.model.neutraliser,
        "generator": training.model.generator,
        "discriminator": training.discriminator,
    }
    return counting.count(lambda: training.step(batch), networks)


def started(name: str, training: Training, batch: Batch) -> None:
    """Print the seconds until what a step needs is compiled and recorded."""
    start = time.perf_counter()
    steps = 26  # R1 comes every 8th, and a kind of step is recorded the fourth time
    for _ in range(steps):
        training.step(batch)
    torch.cuda.synchronize(training.device)
    print(f"{name}: {steps} steps after {time.perf_counter() - start:.1f} s", flush=True)


def timed_variants(config: TrainConfig, batch: Batch, device: torch.device, options: argparse.Namespace) -> None:
    """Measure and print one variant after the other."""
    steps, rounds = options.steps, options.rounds
    config = replace(config, precision=options.precision)
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    plain = replace(config, compile="never", graphs="never")
    eager = replace(plain, precision="float32")
    found = convolutions(training_of(plain, device), batch)
    peak = matmul_peak(device, dtype)
    bound = alone(found, device, dtype)
    seconds: dict[str, float] = {}

    def measure(work: Mapping[str, Callable[[], object]]) -> None:
        start = time.perf_counter()
        repeated = {name: lambda call=call: [call() for _ in range(steps)] for name, call in work.items()}
        for name, each in side_by_side(repeated, rounds, device).items():
            seconds[name] = each / steps
            print(
                f"{name}: {len(batch) / seconds[name]:.2f} images/s, {1000 * seconds[name]:.1f} ms a step", flush=True
            )
        print(f"(measured in {time.perf_counter() - start:.0f} s)", flush=True)

    def stepping(training: Training) -> Callable[[], object]:
        return lambda: training.step(batch)

    cuda = device.type == "cuda"
    critic = critic_of(config, device, options.landmarker)
    baselines = {
        "bound": lambda: bound,
        "eager": lambda: stepping(plainly(training_of(eager, device))),
        "released": lambda: stepping(repeating(plainly(training_of(eager, device)))),
    }
    variants = {
        "ours, launched": plain,
        "ours": replace(plain, graphs="auto"),
        "ours, compiled and launched": replace(plain, compile="always"),
        "ours, compiled": replace(plain, compile="always", graphs="auto"),
    }
    if not cuda:  # other programs share the processor, so all take turns
        training = training_of(plain, device)
        variants = {"ours": plain}
        work = {name: make() for name, make in baselines.items()} | {"ours": stepping(training)}
        if critic is not None:
            work["ours, with the critic"] = stepping(training_of(plain, device, critic))
        measure(work)
    else:
        for name, make in baselines.items():
            measure({name: make()})
    for name, each in variants.items():
        reading = f"{name}, with the critic"
        if cuda:
            training = training_of(each, device)
            started(name, training, batch)
            measure({name: stepping(training)})
            if critic is not None and name == "ours":
                with_critic = training_of(each, device, critic)
                started(reading, with_critic, batch)
                measure({reading: stepping(with_critic)})
        goals = {"eager": 3.0, "released": 5.0} if cuda else {"released": 1.5}
        for baseline in ("eager", "released"):
            ratio = seconds[baseline] / seconds[name]
            print(f"  times {baseline}: {verdict(ratio, goals[baseline]) if baseline in goals else f'{ratio:.2f}'}")
        print(f"  of the bound: {verdict(seconds['bound'] / seconds[name], 0.7 if cuda else 0.75)}")
        if reading in seconds:
            more = seconds[reading] - seconds[name]
            print(f"  the critic: {1000 * more:.1f} ms more a step, {more / seconds[name]:.0%} of a step without it")
        share = operations(found) / seconds[name] / peak
        print(f"  share of the matmul peak ({peak / 1e12:.2f} Tflop/s): {share:.1%}", flush=True)
        print(*(f"  {line}" for line in largest_costs(training, batch, steps)), sep="\n", flush=True)
        training.graphs = None  # a recorded step is one piece
        phases = ", ".join(f"{phase} {each:.1f}" for phase, each in by_phase(training, batch, steps).items())
        print(f"  ms a step by phase, each launched and waited for: {phases}", flush=True)


def main() -> None:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", action="store_true", help="count what a step asks of its device, and time nothing")
    parser.add_argument("--start", action="store_true", help="time the start of a compiled step on a GPU, nothing else")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--batch", type=int, default=32 if cuda else 4)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8 if cuda else 1, help="steps a turn; R1 comes every 8th")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("bf16", "float32"), default="bf16", help="of ours and of the bound")
    parser.add_argument("--landmarker", type=Path, help="face_landmarker.task; by default fetched")
    options = parser.parse_args()
    device = torch.device(options.device)
    preset = TrainConfig.preset("icface")
    # The pseudo target from the first step on, as after the first tenth of a training.
    config = replace(
        preset, model=replace(preset.model, size=options.size), loss=replace(preset.loss, pseudo_target_start=0.0)
    )
    batch = synthetic_batch(options.batch, options.size)
    if options.count:
        without = counted(config, batch).row()
        critic = critic_of(config, torch.device("cpu"), options.landmarker)
        reading = without if critic is None else counted(config, batch, critic).row()
        for name, number in without.items():
            print(f"{name}: {number}" + ("" if critic is None else f"; with the critic: {reading[name]}"))
        return
    print(f"{surroundings(device)}; batch {options.batch}, {options.size} px", flush=True)
    if options.start:
        training = training_of(
            replace(config, precision="bf16", compile="always"), device, critic_of(config, device, options.landmarker)
        )
        started("ours, with the critic", training, batch)
        return
    timed_variants(config, batch, device, options)


if __name__ == "__main__":
    main()
