"""`icface models show|history|rollback|retire|delete`."""

import json
import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from icface.errors import IcfaceError
from orchestration.terminal import Reporter


@dataclass(frozen=True, kw_only=True)
class Show:
    """Show where a version comes from: data, parents, run, commit, licence, evaluations."""

    name: str
    """Name of the registered model."""
    version: int
    """Version number."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True, kw_only=True)
class History:
    """Show which version had which alias when, why, and who gave it."""

    name: str
    """Name of the registered model."""


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """Give an alias back to the version that had it before."""

    name: str
    """Name of the registered model."""
    alias: str = "champion"
    """The alias, as in models:/NAME@champion."""


@dataclass(frozen=True, kw_only=True)
class Retire:
    """Mark a version as not to be used. It cannot be promoted any more."""

    name: str
    """Name of the registered model."""
    version: int
    """Version number. It must have no alias."""
    reason: str = ""
    """Why, in words. It is kept with the version."""
    undo: bool = False
    """Take the mark away."""


@dataclass(frozen=True, kw_only=True)
class Delete:
    """Remove a version from the registry, after a question. Its run stays."""

    name: str
    """Name of the registered model."""
    version: int
    """Version number. It must have no alias."""
    yes: Annotated[bool, tyro.conf.arg(aliases=["-y"])] = False
    """Do not ask."""


def show(options: Show) -> None:
    """Print what a version was made of and what was made of it."""
    from orchestration.registry.lineage import lineage, rows
    from orchestration.tracking.run_logger import use_tracking

    use_tracking()
    facts = lineage(options.name, options.version)
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    with Reporter(plain=True) as reporter:
        reporter.table(f"{options.name} version {options.version}", rows(facts))


def history(options: History) -> None:
    """Print when aliases were given, and why."""
    from orchestration.registry.history import history as events_of
    from orchestration.tracking.run_logger import use_tracking

    use_tracking()
    with Reporter() as reporter:
        events = events_of(options.name)
        if not events:
            reporter.say(f"nothing is recorded of {options.name}: no version was promoted, retired or deleted")
            return
        rows = [("time (UTC)", "what", "alias", "version", "before", "by", "reason")]
        for e in events:
            before = "–" if e.before is None else str(e.before)
            rows.append((e.time, e.what, e.alias or "–", str(e.version), before, e.by, e.reason))
        reporter.table(f"History of {options.name}", rows)


def rollback(options: Rollback) -> None:
    """Give an alias back to the version that had it before."""
    from orchestration.registry.history import rollback as give_back
    from orchestration.tracking.run_logger import use_tracking

    use_tracking()
    with Reporter() as reporter:
        back, before, reason = give_back(options.name, options.alias)
        reporter.result(rolled_back=f"models:/{options.name}@{options.alias}", version=back, was=before, reason=reason)


def retire(options: Retire) -> None:
    """Mark a version so that it gets no alias, or take the mark away."""
    from orchestration.registry import history as registry
    from orchestration.tracking.run_logger import use_tracking

    use_tracking()
    with Reporter() as reporter:
        model = f"models:/{options.name}/{options.version}"
        if options.undo:
            registry.bring_back(options.name, options.version)
            reporter.result(brought_back=model)
        else:
            registry.retire(options.name, options.version, options.reason)
            reporter.result(retired=model, reason=options.reason or "no reason given")


def delete(options: Delete) -> None:
    """Delete a version and its files."""
    from orchestration.registry import history as registry
    from orchestration.registry.versions import version
    from orchestration.tracking.run_logger import use_tracking

    use_tracking()
    version(options.name, options.version)  # told before the question, when there is none
    if not options.yes:
        _confirm(f"{options.name}/{options.version}")
    with Reporter() as reporter:
        left = registry.delete(options.name, options.version)
        reporter.result(
            deleted=f"models:/{options.name}/{options.version}", **{f"{k}_stays": v for k, v in left.items()}
        )


def _confirm(model: str) -> None:
    """Raises IcfaceError unless the user types the model's name."""
    if not sys.stdin.isatty():
        raise IcfaceError(f"deleting models:/{model} cannot be undone: add --yes where nobody can be asked")
    print(f"This removes models:/{model} from the registry and cannot be undone. Type {model} to go on: ", end="")
    sys.stdout.flush()
    if sys.stdin.readline().strip() != model:
        raise IcfaceError("nothing was deleted")
