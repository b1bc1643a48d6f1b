"""`icface preprocess SOURCE DATASET`."""

from collections.abc import Iterator, Sequence
from dataclasses import field, fields, make_dataclass
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from icface.analyzers.registry import flags, registrations
from icface.mappings import flat_fields
from icface.options import descriptions
from orchestration.commands import parse
from orchestration.reporting import preprocess
from orchestration.terminal import Reporter
from pipelines.config import PreprocessConfig


def main(argv: Sequence[str]) -> None:
    config = parse(options_type(), argv, "preprocess", convert=to_config)
    with Reporter() as reporter:
        if config.running.dry_run:
            _dry_run(config, reporter)
        else:
            preprocess(config, reporter)


def options_type() -> type:
    """A flag for each field of `PreprocessConfig`, whichever part it is in, and for each option of each analyzer."""
    made = make_dataclass("Preprocess", [*_own_flags(), *_analyzers_flags()], frozen=True, kw_only=True)
    made.__doc__ = "Turn clips into a Parquet data set of faces, action units and head pose."
    return made


def _own_flags() -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of each field, as `make_dataclass` takes them."""
    special = {
        "analyzer": Literal[tuple(registrations())],
        "analyzer_options": tyro.conf.Suppress[tyro.conf.Fixed[dict]],
    }
    for kind, item in flat_fields(PreprocessConfig):
        hint = special.get(item.name, get_type_hints(kind)[item.name])
        words = tyro.conf.arg(help=descriptions(kind).get(item.name, ""))
        yield item.name, Annotated[hint, words], field(default=item.default, default_factory=item.default_factory)


def _analyzers_flags() -> Iterator[tuple[str, Any, Any]]:
    for flag, name, option in flags():
        kind = registrations()[name].options
        words = tyro.conf.arg(help=descriptions(kind).get(option, ""))
        default = next(each.default for each in fields(kind) if each.name == option)
        yield flag, Annotated[get_type_hints(kind)[option], words], default


def to_config(parsed: Any) -> PreprocessConfig:
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
        gpu_hours_about=round(found.core_hours * config.analysis.gpus, 3),
        frames_per_second_and_core=round(found.frames_per_second, 1),
        looked_at=f"{found.probed} clips, {found.unreadable} of them cannot be read",
    )
