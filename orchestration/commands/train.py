"""`icface train DATASET`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import tyro

from icface.mappings import read_yaml
from icface.training.config import PRESETS, RENAMED, TrainConfig, current_names
from orchestration.commands import parse
from orchestration.config import TrainJob
from orchestration.reporting import dry_run, train
from orchestration.terminal import Reporter

COMPILE = ("auto", "always", "never")


@dataclass(frozen=True, kw_only=True)
class Train(TrainJob):
    """Train a model. Options come from the preset, then --config FILE.yaml, then the command line.

    With --init-from, the sizes of the generators come from that model. `icface train --preset NAME --help` shows the
    values of a preset. `icface train --without DATASET` lists the runs that saw people who were taken out of it, and
    the command that trains each again."""

    preset: str = "icface"
    """icface (128 px), small (64 px, about an hour of a CPU), expressive (64 px, paints mouths, some hours of a CPU) or
    paper (the paper's recipe)."""
    config: str | None = None
    """A YAML file of options, such as `model: {size: 128}`."""
    dry_run: bool = False
    """Measure three steps, and show time, memory and disk space of the training. Writes nothing."""


@dataclass(frozen=True, kw_only=True)
class Without:
    """List the runs that saw people who were taken out of a data set, and the command that trains each again."""

    without: str
    """A data set from which `icface dataset forget` took people or clips out."""


def main(argv: Sequence[str]) -> None:
    if any(word.partition("=")[0] == "--without" for word in argv):
        _without(parse(Without, argv, "train", positional=False))
        return
    argv, notices = current_flags(argv)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset")
    first.add_argument("--config")
    first.add_argument("--init-from")
    first.add_argument("--name")
    first.add_argument("--storage", default=TrainJob.storage)
    first.add_argument("--resume", action="store_true")
    known, _ = first.parse_known_args([argument for argument in argv if argument not in ("-h", "--help")])
    kept = None
    if known.resume and known.name and not (known.preset or known.config or _wants_help(argv)):
        from orchestration.train.run_folder import RunRecord, run_folder

        kept = RunRecord.read(run_folder(known.storage, known.name))
    preset = known.preset or "icface"
    if kept is not None:
        base = TrainConfig().merge(kept.config)
        argv = argv if _has_dataset(argv) else [kept.dataset, *argv]
    else:
        base = TrainConfig.preset(preset) if preset in PRESETS or not _wants_help(argv) else TrainConfig()
    if known.init_from and not _wants_help(argv):
        base = base.merge({"model": _generators_of(known.init_from)})
    if known.config:
        values, old = current_names(read_yaml(known.config, "model: {size: 128}"))
        notices += [f"--config {known.config}: {notice}" for notice in old]
        base = base.merge(values)
    before = {} if kept is None else {**kept.job, "init_from": kept.init_from}
    if "mixed_with" in before:  # JSON has lists
        before["mixed_with"] = tuple(before["mixed_with"])
    options = parse(Train, argv, "train", default=Train(dataset=tyro.MISSING, training=base, **before))
    with Reporter() as reporter:
        for notice in notices:
            reporter.say(notice)
        if options.dry_run:
            dry_run(options, reporter)
        else:
            train(options, reporter)


def _without(options: Without) -> None:
    from orchestration.tracking.run_logger import use_tracking
    from orchestration.train.retraining import affected

    with Reporter() as reporter:
        uri = use_tracking()
        found = affected(options.without)
        if not found:
            reporter.say(f"no run in {uri} was trained on {options.without} as it was before")
            return
        rows = [
            (run.name, run.status, ", ".join(run.versions) or "none", run.why, run.command or f"none: see {run.folder}")
            for run in found
        ]
        reporter.table("Runs to train again, parents first", [("run", "status", "registered", "why", "command"), *rows])
        again = [run.command for run in found if run.command is not None]
        left = [run.folder for run in found if run.command is None]
        if left and again:
            reporter.say(f"no model is to be made again of {', '.join(left)}: their checkpoints have seen them too")
        for command in again:
            reporter.say(command)
        retire = [version.split(" ")[0] for run in found for version in run.versions]
        if retire:
            reporter.say(f"until then the registry has models that saw them: {', '.join(retire)}")


def _has_dataset(argv: Sequence[str]) -> bool:
    """Whether a word is the data set: neither a flag nor the value of one.

    >>> _has_dataset(["--resume", "--name", "x"]), _has_dataset(["--dry-run", "data", "--name=x"])
    (False, True)
    """
    words = iter(argv)
    for word in words:
        if not word.startswith("-"):
            return True
        if "=" not in word and word.replace("_", "-") not in _switches(Train(dataset="")):
            next(words, None)
    return False


def _switches(options: Any, prefix: str = "--") -> set[str]:
    """The flags that take no value."""
    found = set()
    for item in fields(options):
        value = getattr(options, item.name)
        if is_dataclass(value):
            found |= _switches(value, prefix if item.name == "training" else f"{prefix}{item.name}.")
        elif isinstance(value, bool):
            name = item.name.replace("_", "-")
            found |= {f"{prefix}{name}", f"{prefix}no-{name}"}
    return found


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
