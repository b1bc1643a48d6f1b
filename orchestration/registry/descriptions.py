"""How runs, logged models and versions describe themselves in MLflow: first lines, names, scores."""

import re
import time
from collections.abc import Mapping
from typing import Any

import mlflow

from icface.evaluation.report import Report
from orchestration.tracking.metric_names import EVALUATION
from orchestration.tracking.run_logger import METRICS_A_CALL

TAG_LENGTH = 5000
"""Characters that MLflow takes in a version's tag."""
STEPS_TAG = "icface.steps"
MODEL_TAG = "icface.logged_model"
"""Tag of a version with the id of its logged model: MLflow's own field is empty in SQL stores."""
LINKED = ("train", "validation")
"""Groups of a run's metrics that its logged model gets too."""
REFUSED = r"""[/:.%"']"""
"""What MLflow takes in no model's name."""


def headline(facts: Mapping[str, Any], scores: Mapping[str, float] | None = None) -> str:
    """The first line of a description: what was trained, and how good it is beside copying the source.

    >>> headline({"preset": "small", "size": 64, "steps": 600})
    'Preset small, 64 px, 600 steps. Not evaluated yet.'
    """
    return f"Preset {facts['preset']}, {facts['size']} px, {facts['steps']} steps.{told_scores(scores or {})}"


def told_scores(scores: Mapping[str, float]) -> str:
    """What `headline` says of scores, with the space before it.

    >>> told_scores({"val/face_l1": 0.0912, "val/copy_source.face_l1": 0.12})
    ' Face L1, lower is better: val 0.091 (copying the source 0.120).'
    """
    told = [
        f"{group} {scores[f'{group}/face_l1']:.3f}"
        + (f" (copying the source {copied:.3f})" if (copied := scores.get(f"{group}/copy_source.face_l1")) else "")
        for group in ("val", "held_out", "cross")
        if f"{group}/face_l1" in scores
    ]
    return f" Face L1, lower is better: {', '.join(told)}." if told else " Not evaluated yet."


def model_name(run: str, steps: int) -> str:
    """A logged model's name, without what MLflow refuses.

    >>> model_name("demo: a/b", 600)
    'demo- a-b, step 600'
    """
    return f"{re.sub(REFUSED, '-', run)}, step {steps}"


def link_metrics(client: Any, run: Any, model_id: str, steps: int, scores: Mapping[str, float] | None = None) -> None:
    """The run's last metrics as the logged model's, at its step and with the run's data set.

    `scores`: of its own evaluation beside the training, in their place.
    """
    from mlflow.entities import Metric

    now, extra = int(time.time() * 1000), {"model_id": model_id, **data_of(run)}
    if scores is not None:
        chosen = {f"validation/kept/{key}": value for key, value in scores.items()}
    else:
        chosen = {key: value for key, value in run.data.metrics.items() if key.split("/")[0] in LINKED}
    _log(client, run.info.run_id, [Metric(key, value, now, steps, **extra) for key, value in chosen.items()])


def data_of(run: Any) -> dict[str, Any]:
    """The data set of a run, as its metrics name it."""
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return {"dataset_name": inputs[0].dataset.name, "dataset_digest": inputs[0].dataset.digest} if inputs else {}


def steps_of(run: Any) -> int:
    """Steps that a run has trained; 0 where it does not say."""
    steps = run.data.tags.get(STEPS_TAG) or run.data.params.get("steps", "0")
    return int(steps) if str(steps).isdigit() else 0


def describe(client: Any, run: Any, report: Report | None = None) -> None:
    """What a run is and what came of it, as its description."""
    params, tags = run.data.params, run.data.tags
    facts = {
        "preset": params.get("preset", "custom"),
        "size": params.get("model.size", "?"),
        "steps": tags.get(STEPS_TAG) or params.get("steps", "?"),
    }
    lines = [
        headline(facts, None if report is None else headline_scores(report)),
        "",
        f"- data set: {params.get('dataset', 'not recorded')}",
        f"- begins with: {params.get('init_from', 'none')}",
        f"- differs from the preset in: {tags.get('icface.changed_from_preset', 'not recorded')}",
    ]
    client.set_tag(run.info.run_id, "mlflow.note.content", "\n".join(lines))


def headline_scores(report: Report) -> dict[str, float]:
    """The face L1 of each group of pairs, the model's and copy-source's."""
    found = {}
    for name, group in report.groups.items():
        for who, key in (("model", "face_l1"), ("copy_source", "copy_source.face_l1")):
            value = group.scores[who].get("face_l1")
            if value is not None:
                found[f"{name}/{key}"] = value
    return found


def scores_as_metrics(values: Mapping[str, float], step: int, **extra: Any) -> list[Any]:
    """Figures of an evaluation as MLflow's metrics `eval/...` of a step; `extra` goes to each."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(f"{EVALUATION}{name}", value, now, step, **extra) for name, value in values.items()]


def tell_run(run_id: str, report: Report, values: Mapping[str, float]) -> None:
    """The figures of an evaluation as metrics `eval/...` of a run, and in the first line of its description."""
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    _log(client, run_id, scores_as_metrics(values, steps_of(run)))
    describe(client, run, report)


def tell_version(name: str, number: int, report: Report, scores: Mapping[str, float]) -> None:
    """One tag a score, the first line of a version's description, and the metrics of its logged model."""
    client = mlflow.MlflowClient()
    for key, value in scores.items():
        client.set_model_version_tag(name, str(number), f"{EVALUATION}{key}", f"{value:.4f}")
    found = client.get_model_version(name, str(number))
    first, _, rest = (found.description or "").partition("\n")
    if first.startswith("Preset "):
        made = first.partition(" steps.")[0] + " steps."
        client.update_model_version(name, str(number), f"{made}{told_scores(headline_scores(report))}\n{rest}")
    model_id = found.model_id or found.tags.get(MODEL_TAG)
    if model_id and found.run_id:
        run = client.get_run(found.run_id)
        extra = {"model_id": str(model_id), **data_of(run)}
        steps = int(found.tags.get(STEPS_TAG) or steps_of(run))
        _log(client, found.run_id, scores_as_metrics(report.metrics(), steps, **extra))


def _log(client: Any, run_id: str, metrics: list[Any]) -> None:
    for first in range(0, len(metrics), METRICS_A_CALL):
        client.log_batch(run_id, metrics=metrics[first : first + METRICS_A_CALL])
