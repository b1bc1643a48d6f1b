"""`icface train DATASET`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from icface.mappings import read_yaml
from icface.training.config import PRESETS, RENAMED, TrainConfig, current_names
from orchestration.commands import parse
from orchestration.config import TrainJob
from orchestration.reporting import train
from orchestration.terminal import Reporter

COMPILE = ("auto", "always", "never")


@dataclass(frozen=True, kw_only=True)
class Train(TrainJob):
    """Train a model. Options come from the preset, then --config FILE.yaml, then the command line.

    With --init-from, the sizes of the generators come from that model. `icface train --preset NAME --help` shows the
    values of a preset."""

    preset: str = "icface"
    """icface (128 px), small (64 px, trains on a CPU in minutes) or paper (the paper's recipe)."""
    config: str | None = None
    """A YAML file of options, such as `model: {size: 128}`."""


def main(argv: Sequence[str]) -> None:
    argv, notices = current_flags(argv)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default="icface")
    first.add_argument("--config")
    first.add_argument("--init-from")
    known, _ = first.parse_known_args([argument for argument in argv if argument not in ("-h", "--help")])
    base = TrainConfig.preset(known.preset) if known.preset in PRESETS or not _wants_help(argv) else TrainConfig()
    if known.init_from and not _wants_help(argv):
        base = base.merge({"model": _generators_of(known.init_from)})
    if known.config:
        values, old = current_names(read_yaml(known.config, "model: {size: 128}"))
        notices += [f"--config {known.config}: {notice}" for notice in old]
        base = base.merge(values)
    options = parse(Train, argv, "train", default=Train(dataset=tyro.MISSING, training=base))
    with Reporter() as reporter:
        for notice in notices:
            reporter.say(notice)
        train(options, reporter)


def current_flags(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments with today's names of flags, and a notice for each old name.

    >>> current_flags(["DATA", "--data.batch=8", "--compile", "--steps", "9"])[0]
    ['DATA', '--data.batch-size=8', '--compile=always', '--steps', '9']
    """
    new_names = {
        f"--{old}".replace("_", "-"): f"--{old.split('.')[0]}.{new}".replace("_", "-") for old, new in RENAMED.items()
    }
    arguments, notices = [], []
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        flag, equals, value = argument.partition("=")
        new = new_names.get(flag.replace("_", "-"))
        if new is not None:
            notices.append(f"{flag} is now {new}; the old name goes in the next version")
            argument = f"{new}{equals}{value}"
        if argument == "--no-compile" or (argument == "--compile" and following not in COMPILE):
            new = "--compile=never" if argument == "--no-compile" else "--compile=always"
            notices.append(f"{argument} is now {new}; the old form goes in the next version")
            argument = new
        arguments.append(argument)
    return arguments, notices


def _generators_of(model: str) -> dict[str, Any]:
    """The fields of `ModelConfig` that shape the generators of MODEL."""
    from icface.bundle import load_bundle
    from icface.training.init_from import SAME
    from orchestration.registry.references import resolve

    config = load_bundle(resolve(model).folder).config.model
    return {name: getattr(config, name) for name in SAME}


def _wants_help(argv: Sequence[str]) -> bool:
    return "-h" in argv or "--help" in argv
