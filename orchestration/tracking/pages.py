"""Addresses of MLflow's own page that open what is meant.

Without `workflowType=machine_learning` MLflow 3 shows an experiment as one of language models: traces, judges, prompts.
"""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from icface.words import python_command
from orchestration.tracking.run_logger import experiment_id, tracking_uri

VIEW = "workflowType=machine_learning"
LOCAL = "http://127.0.0.1:5000"
"""Where `mlflow ui` serves a sqlite file."""


def server() -> str | None:
    """The address of the tracking server's page; None where it is not known, as on Databricks."""
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        return uri.rstrip("/")
    return LOCAL if uri.startswith("sqlite:") else None


def starting() -> str | None:
    """The command that serves the page, where no server runs by itself."""
    uri = tracking_uri()
    return python_command("-m", "mlflow", "ui", "--backend-store-uri", uri) if uri.startswith("sqlite:") else None


def run_page(run_id: str) -> str | None:
    """The page of a run."""
    return _page(f"experiments/{experiment_id()}/runs/{run_id}")


def models_page() -> str | None:
    """The page that lists the logged models of the experiment."""
    return _page(f"experiments/{experiment_id()}/models")


def version_page(name: str, number: int) -> str | None:
    """The page of a registered version."""
    return _page(f"models/{quote(name)}/versions/{number}")


def comparison_page(run_ids: Sequence[str]) -> str | None:
    """The page that shows runs side by side."""
    runs, experiments = quote(json.dumps(list(run_ids))), quote(json.dumps([experiment_id()]))
    return _page("compare-runs", f"runs={runs}&experiments={experiments}&")


def versions_comparison_page(name: str, run_ids: Mapping[int, str]) -> str | None:
    """The page that shows versions of a registered model side by side; `run_ids`: the run of each."""
    # The page takes the name encoded once more, and as its first argument.
    versions = {str(number): run_id for number, run_id in run_ids.items()}
    asked = f"name={quote(json.dumps(quote(name)))}&runs={quote(json.dumps(versions))}&"
    return _page("compare-model-versions", asked)


def facts(run_id: str) -> dict[str, str]:
    """What a command's result says of where a run is looked at."""
    named = {"mlflow_page": run_page(run_id), "mlflow_server": starting()}
    return {name: value for name, value in named.items() if value}


def _page(place: str, query: str = "") -> str | None:
    address = server()
    return f"{address}/#/{place}?{query}{VIEW}" if address else None
