"""`icface preprocess SOURCE DATASET`."""

from collections.abc import Sequence
from dataclasses import field, fields, make_dataclass
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from icface.analyzers.registry import flags, registrations
from icface.options import descriptions
from orchestration.commands import parse
from orchestration.reporting import preprocess
from orchestration.terminal import Reporter
from pipelines.config import PreprocessConfig


def main(argv: Sequence[str]) -> None:
    config = parse(options_type(), argv, "preprocess", convert=to_config)
    with Reporter() as reporter:
        if config.dry_run:
            _dry_run(config, reporter)
        else:
            preprocess(config, reporter)


def options_type() -> type[PreprocessConfig]:
    """`PreprocessConfig` with a flag for each option of each analyzer there is."""
    added: list[tuple[str, Any, Any]] = [
        ("analyzer", Literal[tuple(registrations())], PreprocessConfig.analyzer),
        ("analyzer_options", tyro.conf.Suppress[tyro.conf.Fixed[dict]], field(default_factory=dict)),
    ]
    for flag, name, option in flags():
        kind = registrations()[name].options
        words = tyro.conf.arg(help=descriptions(kind).get(option, ""))
        default = next(each.default for each in fields(kind) if each.name == option)
        added.append((flag, Annotated[get_type_hints(kind)[option], words], default))
    made = make_dataclass("Preprocess", added, bases=(PreprocessConfig,), frozen=True, kw_only=True)
    made.__doc__ = "Turn clips into a Parquet data set of faces, action units and head pose."
    return made


def to_config(parsed: PreprocessConfig) -> PreprocessConfig:
    """What was parsed, without the options that were left as they are."""
    values = {each.name: getattr(parsed, each.name) for each in fields(parsed)}
    defaults = {each.name: each.default for each in fields(parsed)}
    for flag, _, _ in flags():
        if values[flag] == defaults[flag]:
            del values[flag]
    return PreprocessConfig.from_flat(values)


def _dry_run(config: PreprocessConfig, reporter: Reporter) -> None:
    from pipelines.preprocess.estimate import estimate

    found = estimate(config)
    reporter.result(
        clips=found.clips,
        identities=found.identities,
        source_gb=round(found.source_gb, 3),
        frames_about=round(found.frames),
        dataset_gb_about=round(found.dataset_gb, 3),
        core_hours_about=round(found.core_hours, 3),
        gpu_hours_about=round(found.core_hours * config.gpus, 3),
        frames_per_second_and_core=round(found.frames_per_second, 1),
        looked_at=f"{found.probed} clips, {found.unreadable} of them cannot be read",
    )
