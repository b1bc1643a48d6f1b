"""torch.compile, and how a training runs on the device that it has."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from icface.errors import IcfaceError, first_line
from icface.networks.resnet import ResidualBlock
from icface.networks.warp import ModulatedBlock, ModulatedConv, WarpGenerator
from icface.training.config import TrainConfig
from icface.training.graphs import can_record
from icface.weights import cache_folder

COMPILE_FROM = 5000
"""Steps from which `compile: auto` compiles on a GPU where steps cannot be recorded. On an H100 a cold start of the
whole networks took over 170 s, and a step was 25 ms shorter afterwards. A recorded step is 56 ms shorter after 1 s."""
SHAPES = 64
"""Variants of one block that are kept: a block serves every level of both generators, with gradients and without."""


def for_device(config: TrainConfig, device: torch.device) -> TrainConfig:
    """The config with `auto` decided for a device; on a GPU what stays float32 is computed in TF32."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    if config.precision == "auto":
        config = replace(config, precision="bf16" if on_gpu else "float32")
    if config.compile == "auto":
        pays = on_gpu and config.steps >= COMPILE_FROM and not can_record(config)
        config = replace(config, compile="always" if pays else "never")
    return config


def compile_regions(network: nn.Module) -> None:
    """Compile a generator's repeated blocks, and a `WarpGenerator`'s pixels, in place, at their first use.

    Blocks of one shape share what was compiled, in both generators, so a cold start compiles each shape once and not
    each network. The results stay in the user's cache for the next start.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
    torch.compiler.config.recompile_limit = max(SHAPES, torch.compiler.config.recompile_limit)
    within: set[nn.Module] = set()
    for module in network.modules():
        if isinstance(module, WarpGenerator):
            module.compose = torch.compile(module.compose, dynamic=False)  # type: ignore[method-assign]
        if module not in within and isinstance(module, (ModulatedBlock, ModulatedConv, ResidualBlock)):
            module.compile(dynamic=False)
            within |= set(module.modules())


@contextmanager
def compiler_errors_in_words() -> Iterator[None]:
    """Turns what torch.compile raises into one line that says what to do.

    Raises IcfaceError where a network cannot be compiled.
    """
    from torch._dynamo.exc import TorchDynamoException  # here: it takes a second, and few trainings are compiled

    try:
        yield
    except TorchDynamoException as error:
        inner = getattr(error, "inner_exception", error)
        raise IcfaceError(
            f"torch.compile cannot compile this model on this machine ({type(inner).__name__}: {first_line(inner)}); "
            "train with --compile never"
        ) from error
