"""Evaluations kept in MLflow: the whole with the run, and with the version the numbers that are listed."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from icface.errors import IcfaceError
from icface.evaluation.measurements import Measurements
from icface.evaluation.report import Reference, Report
from icface.images import encode_png
from orchestration.registry import descriptions, evaluation_page, measurements
from orchestration.registry.cases import Sheet
from orchestration.registry.references import downloaded
from orchestration.registry.versions import EVALUATION_TAG

KEPT_METRICS = ("face_l1", "ssim", "pose_error", "sharpness", "unit_r", "edit_score")
"""Scores that a version keeps, of each group of pairs; the first ones of copying the source too."""
KEPT_REFERENCES: tuple[Reference, ...] = ("copy_source",)
PAIRS_TAG = "icface.evaluation_pairs"
EVALUATION_FILE, EVALUATION_FOLDER = "evaluation.json", "evaluation"


def log_report(run_id: str, report: Report, measured: Measurements | None = None) -> None:
    """An evaluation as metrics `eval/...` and as `evaluation.json` of a run, with what was measured of each pair.

    Copying the source is logged too, as `eval/copy_source/val/face_l1`. The run's description says how good it is.
    """
    client = mlflow.MlflowClient()
    values = report.metrics()
    for reference in KEPT_REFERENCES:
        values |= {f"{reference}/{name}": value for name, value in report.metrics(reference).items()}
    descriptions.tell_run(run_id, report, values)
    client.log_dict(run_id, report.to_json(), EVALUATION_FILE)
    if measured is not None:
        with tempfile.TemporaryDirectory() as folder:
            measurements.save(measured, Path(folder))
            client.log_artifacts(run_id, folder, EVALUATION_FOLDER)


def log_pictures(run_id: str, model: str, report: Report, shown: Sequence[Sheet]) -> None:
    """The worst and the best pairs as pictures, all scores as a table, and the page, in a run's `evaluation`."""
    client = mlflow.MlflowClient()
    with tempfile.TemporaryDirectory() as folder:
        for sheet in shown:
            (Path(folder) / f"{sheet.group}-{sheet.choice}.png").write_bytes(encode_png(sheet.picture))
        evaluation_page.write(Path(folder) / "evaluation.html", model, report, shown)
        client.log_artifacts(run_id, folder, EVALUATION_FOLDER)
    heading, *rows = report.rows()
    client.log_table(run_id, pd.DataFrame(rows, columns=list(heading)), f"{EVALUATION_FOLDER}/scores.json")


def stored_evaluation(run_id: str) -> Report | None:
    """The evaluation that is stored with a run; None where there is none. Raises IcfaceError when it is damaged."""
    try:
        values = mlflow.artifacts.load_dict(f"runs:/{run_id}/{EVALUATION_FILE}")
    except MlflowException:
        return None
    return Report.from_json(values)


def stored_measurements(run_id: str) -> Measurements | None:
    """What that evaluation measured of each pair; None for one of version 0.1, which did not keep it."""
    try:
        return measurements.load(downloaded(f"runs:/{run_id}/{EVALUATION_FOLDER}"))
    except (MlflowException, OSError, IcfaceError):
        return None


def note_pairs(run_id: str, pairs: Mapping[str, Any]) -> None:
    """Keep with a run how the pairs of its evaluation are made again."""
    mlflow.MlflowClient().set_tag(run_id, PAIRS_TAG, json.dumps(dict(pairs)))


def stored_pairs(run_id: str) -> dict[str, Any] | None:
    """What `note_pairs` kept; None where there is nothing, as of version 0.1."""
    try:
        text = mlflow.MlflowClient().get_run(run_id).data.tags.get(PAIRS_TAG)
    except MlflowException:
        return None
    return None if text is None else dict(json.loads(text))


def note_evaluation(name: str, number: int, report: Report, pairs: Mapping[str, Any] | None = None) -> None:
    """Keep an evaluation's numbers with a version, and how its `pairs` are made again: the gate reads them."""
    metrics = _kept(report, "model")
    values = {
        "conditions": conditions(report),
        "metrics": metrics,
        "copy_source": _kept(report, "copy_source"),
        "counts": {group: [each.pairs, each.people] for group, each in report.groups.items()},
        "pairs": dict(pairs) if pairs else None,
    }
    mlflow.MlflowClient().set_model_version_tag(name, str(number), EVALUATION_TAG, json.dumps(values))
    descriptions.tell_version(name, number, report, metrics)


def is_of(report: Report, evaluation: Mapping[str, Any] | None) -> bool:
    """Whether a run's evaluation is the one whose numbers a version keeps.

    A run that was made longer has several versions, and the evaluation of the one that was evaluated last.
    """
    if evaluation is None or conditions(report) != evaluation.get("conditions"):
        return False
    found = _kept(report, "model")
    return all(found.get(name) == value for name, value in evaluation["metrics"].items() if name in found)


def _kept(report: Report, reference: Reference) -> dict[str, float]:
    scores = {group: each.scores.get(reference, {}) for group, each in report.groups.items()}
    return {
        f"{group}/{name}": round(value, 6)
        for group, each in scores.items()
        for name in KEPT_METRICS
        if (value := each.get(name)) is not None
    }


def conditions(report: Report) -> str:
    """Equal strings: the same pair list, analyzer and protocol. Models of two sizes see the pairs at their own size."""
    return replace(report, size=0).comparable
