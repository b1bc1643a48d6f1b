"""Where a registered version comes from: data, parents, run, commit, licence, evaluations."""

import json
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from orchestration.registry import versions as registry
from orchestration.registry.history import history
from orchestration.registry.references import run_of
from orchestration.tracking import pages

DEEPEST = 20
"""Parents of parents that are followed."""


def lineage(name: str, number: int) -> dict[str, Any]:
    """Facts about a version, as JSON holds them.

    `parents` are the models that its training began with (`--init-from`), the nearest first. What MLflow no longer
    knows, as of a run that was deleted, is null. Raises IcfaceError when there is no such version.
    """
    item = registry.version(name, number)
    client = mlflow.MlflowClient()
    tags = client.get_model_version(name, str(number)).tags
    run = _run(item.run_id)
    events = [event for event in history(name) if event.version == number]
    return {
        "model": name,
        "version": number,
        "aliases": list(item.aliases),
        "retired": item.retired,
        "made": item.created.isoformat(timespec="seconds"),
        "licence": item.licence,
        "sources": json.loads(tags.get(registry.SOURCES_TAG, "[]")),
        "data_set": _data_set(run),
        "run": _run_facts(item.run_id, run),
        "parents": _parents(run),
        "evaluation": item.evaluation,
        "promoted": tags.get(registry.REASON_TAG),
        "events": [{"what": e.what, "alias": e.alias, "at": e.time, "by": e.by, "reason": e.reason} for e in events],
    }


def rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The same as rows of a table; the first is the heading."""
    run, data = facts["run"], facts["data_set"] or {}
    evaluation = facts["evaluation"] or {}
    found = [
        ("model", f"models:/{facts['model']}/{facts['version']}"),
        ("aliases", ", ".join(facts["aliases"]) or "none"),
        ("retired", facts["retired"]),
        ("promoted", facts["promoted"]),
        ("made", facts["made"]),
        ("licence", facts["licence"]),
        ("clips from", ", ".join(facts["sources"]) or "not recorded"),
        ("data set", data.get("url")),
        ("data set's hash", data.get("sha256")),
        *(
            ("mixed with", f"{other['url']}, {other['share']:.0%} of the pairs, {other['licence']}")
            for other in data.get("mixed_with", ())
        ),
        ("labelled by", data.get("analyzer")),
        *((f"parent {depth}", parent) for depth, parent in enumerate(facts["parents"], 1)),
        ("run", run["name"] and f"{run['name']} ({run['id']}, {run['status']})"),
        ("preset, steps", run["preset"] and f"{run['preset']}, {run['steps']}"),
        ("commit", run["commit"]),
        ("started by", run["user"]),
        ("page", run["page"]),
        ("pairs of the evaluation", (evaluation.get("pairs") or {}).get("dataset")),
        *((key, f"{value:.4f}") for key, value in evaluation.get("metrics", {}).items()),
    ]
    return [("what", "value"), *((what, str(value)) for what, value in found if value)]


def _run(run_id: str) -> Any:
    try:
        return mlflow.MlflowClient().get_run(run_id) if run_id else None
    except MlflowException:  # it was removed for good; the version was not
        return None


def _run_facts(run_id: str, run: Any) -> dict[str, Any]:
    tags = run.data.tags if run else {}
    params = run.data.params if run else {}
    return {
        "id": run_id or None,
        "name": run.info.run_name if run else None,
        "status": run.info.status if run else None,
        "commit": tags.get("icface.commit"),
        "user": tags.get("mlflow.user"),
        "preset": params.get("preset"),
        "steps": params.get("steps"),
        "page": pages.run_page(run_id) if run else None,
    }


def _data_set(run: Any) -> dict[str, Any] | None:
    if run is None:
        return None
    names = {"url": "icface.dataset", "sha256": "icface.dataset_hash", "analyzer": "icface.analyzer"}
    tags = run.data.tags
    return {**{name: tags.get(tag) for name, tag in names.items()}, "mixed_with": registry.mixed_with(tags)}


def _parents(run: Any) -> list[str]:
    """The models that a training began with, the nearest first."""
    found: list[str] = []
    while run is not None and len(found) < DEEPEST:
        parent = run.data.params.get("init_from")
        if parent in (None, "none", *found):  # "none" is what a training that began with no model records
            break
        found.append(parent)
        try:
            run = _run(run_of(parent) or "")
        except (MlflowException, ValueError):
            break
    return found
