"""What happened to a registered model: which version got which alias when, why, and who had it before.

Each event is a tag of the registered model, so that it outlives its version.
"""

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import mlflow

from icface.errors import IcfaceError
from orchestration.registry import runs
from orchestration.registry import versions as registry

EVENT_TAG = "icface.event."
"""Beginning of the tags that hold events; the rest is the time in milliseconds."""
TAG_LENGTH = 4800

What = Literal["promoted", "rolled back", "retired", "brought back", "deleted"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened."""

    what: What
    version: int
    """That got the alias, or that was retired or deleted."""
    reason: str
    alias: str | None = None
    before: int | None = None
    """The version that had the alias."""
    at: float = 0.0
    """Seconds since 1970."""
    by: str = ""
    """The user's name on that machine."""

    @property
    def time(self) -> str:
        """When it happened, UTC."""
        return f"{datetime.fromtimestamp(self.at, UTC):%Y-%m-%d %H:%M:%S}"


def note(name: str, event: Event) -> None:
    """Keep an event of the model `name`, with the time and who does it."""
    now = time.time()
    values = {**asdict(event), "at": round(now, 3), "by": runs.user()}
    text = json.dumps(values)
    if len(text) > TAG_LENGTH:
        values["reason"] = values["reason"][: TAG_LENGTH - len(text)]
        text = json.dumps(values)
    mlflow.MlflowClient().set_registered_model_tag(name, f"{EVENT_TAG}{round(now * 1000):015d}", text)


def give_alias(name: str, number: int, alias: str, reason: str) -> None:
    """Let an alias name this version, and keep that it was promoted. Raises IcfaceError for an alias MLflow refuses."""
    before = registry.set_alias(name, number, alias, reason)
    if before != number:
        note(name, Event(what="promoted", alias=alias, version=number, before=before, reason=reason))


def history(name: str) -> list[Event]:
    """The events of a model, oldest first. Raises IcfaceError when no such model is registered."""
    tags = registry.registered_model(name).tags
    return [Event(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(EVENT_TAG)]


def holders(events: list[Event], alias: str) -> list[int]:
    """The versions that an alias was given to and not taken from by a rollback, oldest first; the last one has it.

    >>> given = [Event(what="promoted", alias="a", version=n, before=b, reason="") for n, b in ((1, None), (2, 1))]
    >>> holders(given, "a")
    [1, 2]
    >>> holders([*given, Event(what="rolled back", alias="a", version=1, before=2, reason="")], "a")
    [1]
    """
    held: list[int] = []
    for event in events:
        if event.alias != alias:
            continue
        if event.what == "rolled back":
            while held and held[-1] != event.version:
                held.pop()
        else:
            held = [version for version in held if version != event.version]
        if not held or held[-1] != event.version:
            held.append(event.version)
    return held


def rollback(name: str, alias: str) -> tuple[int, int, str]:
    """Give an alias back to the version that had it before.

    Returns the version that has it now, the one that had it, and the reason, which holds why that version was promoted
    in its time. Raises IcfaceError when nobody has the alias, or no version from before is left.
    """
    found = {item.number: item for item in registry.versions(name)}
    current = next((item.number for item in found.values() if alias in item.aliases), None)
    if current is None:
        raise IcfaceError(f"no version of {name} has the alias {alias}; give it with: icface models promote {name} N")
    events = history(name)
    earlier = [version for version in holders(events, alias) if version != current]
    left = [version for version in earlier if version in found and not found[version].retired]
    if not left:
        raise IcfaceError(
            f"no version that had the alias {alias} of {name} before version {current} is left; choose one with: "
            f"icface models promote {name} N --alias {alias}"
        )
    back = left[-1]
    why = next(
        (e.reason for e in reversed(events) if e.what == "promoted" and e.version == back and e.alias == alias), ""
    )
    reason = f"rolled back from version {current}; promoted before because: {why or 'not recorded'}"
    registry.set_alias(name, back, alias, reason)
    note(name, Event(what="rolled back", alias=alias, version=back, before=current, reason=reason))
    return back, current, reason


def retire(name: str, number: int, reason: str) -> None:
    """Mark a version as not to be used: the gate refuses it. Raises IcfaceError when it is missing or has an alias."""
    _check_free(name, number)
    mlflow.MlflowClient().set_model_version_tag(name, str(number), registry.RETIRED_TAG, reason or "no reason given")
    note(name, Event(what="retired", version=number, reason=reason))


def bring_back(name: str, number: int) -> None:
    """Undo `retire`. Raises IcfaceError when there is no such version, or it is not retired."""
    if registry.version(name, number).retired is None:
        raise IcfaceError(f"{name} version {number} is not retired")
    mlflow.MlflowClient().delete_model_version_tag(name, str(number), registry.RETIRED_TAG)
    note(name, Event(what="brought back", version=number, reason=""))


def delete(name: str, number: int) -> dict[str, Any]:
    """Remove a version from the registry; its run and what lies in it stay.

    Returns facts: `run`, `artifacts`. Raises IcfaceError when there is no such version, or it has an alias.
    """
    found = _check_free(name, number)
    client = mlflow.MlflowClient()
    place = client.get_model_version_download_uri(name, str(number))
    client.delete_model_version(name, str(number))
    note(name, Event(what="deleted", version=number, reason=""))
    return {"run": found.run_id, "artifacts": place}


def _check_free(name: str, number: int) -> registry.Version:
    found = registry.version(name, number)
    if found.aliases:
        raise IcfaceError(
            f"{name} version {number} has the alias {found.aliases[0]}: roll it back (icface models rollback {name} "
            f"--alias {found.aliases[0]}), or promote another version first"
        )
    return found
