"""Registered models in MLflow: versions made of bundles, and their aliases."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

import icface
from icface.analyzers.registry import DEFAULT, registration
from icface.attributes import AttributeSchema
from icface.bundle import load_bundle
from icface.errors import IcfaceError, first_line
from icface.weights import FACE_LANDMARKER, fetch
from orchestration.registry.descriptions import (
    MODEL_TAG,
    STEPS_TAG,
    TAG_LENGTH,
    headline,
    link_metrics,
    model_name,
)
from orchestration.registry.example_portrait import portrait_png
from orchestration.tracking.searching import found_by
from pipelines.storage import Folder

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

EVALUATION_TAG = "icface.evaluation"
LICENCE_TAG = "icface.licence"
SOURCES_TAG = "icface.sources"
REASON_TAG = "icface.promoted"
RETIRED_TAG = "icface.retired"
SERVING_PACKAGES = (
    *("torch", "numpy", "pandas", "pillow", "mediapipe", "opencv-contrib-python", "safetensors", "av", "mlflow"),
)


def registered(run_id: str, name: str, steps: int) -> int | None:
    """The version of `name` that the run's bundle of so many steps already is; None when there is none."""
    found = found_by(mlflow.MlflowClient().search_model_versions, f"run_id = '{run_id}'")
    # Versions of before have no such tag, and their runs were never made longer.
    same = (item for item in found if item.name == name and item.tags.get(STEPS_TAG, str(steps)) == str(steps))
    return max((int(item.version) for item in same), default=None)


def signature(schema: AttributeSchema) -> "ModelSignature":
    """A portrait (PNG or JPEG bytes) and any of the model's attributes by name; out comes a PNG a row, with a note."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    attributes = [ColSpec("double", name, required=False) for name in schema.names]
    return ModelSignature(
        inputs=Schema([ColSpec("binary", "portrait"), *attributes]),
        outputs=Schema([ColSpec("binary", "png"), ColSpec("string", "notice")]),
    )


def input_example(schema: AttributeSchema) -> pd.DataFrame:
    """A drawn face that is to turn, smile and open its mouth, as far as the model was trained to."""
    wanted = {"pose_yaw": 0.3, "AU12": 1.5, "AU25": 1.0}
    given = {
        a.name: [wanted[a.name] if a.seen is None else a.seen.clamp(wanted[a.name])]
        for a in schema.attributes
        if a.trained and a.name in wanted
    }
    return pd.DataFrame({"portrait": [portrait_png()], **given})


def pyfunc_options(bundle: Path) -> dict[str, Any]:
    """What MLflow's pyfunc flavour is told to wrap a bundle: code as files, nothing pickled, nothing to fetch."""
    config = load_bundle(bundle).config
    artifacts = {"bundle": str(bundle)}
    name = config.analyzer.get("name", DEFAULT)
    if name == DEFAULT or registration(name).reads_files:
        artifacts[FACE_LANDMARKER.name] = str(fetch(FACE_LANDMARKER))
    return {
        "python_model": str(Path(__file__).parent / "served_model.py"),
        "artifacts": artifacts,
        "code_paths": [str(Path(icface.__file__).parent)],
        "pip_requirements": [f"{package}=={_released(package)}" for package in SERVING_PACKAGES],
        "signature": signature(config.schema),
        "input_example": input_example(config.schema),
        "metadata": {"licence": config.licence, "sources": config.sources, "icface": icface.__version__},
    }


def _released(package: str) -> str:
    """The version without the build's mark, as in 2.13.0+cpu, which the package index does not know."""
    return package_version(package).split("+")[0]


@dataclass(frozen=True, kw_only=True)
class LoggedBundle:
    """A bundle as a logged model of MLflow's."""

    model_id: str
    uri: str
    facts: Mapping[str, str]
    """What `headline` says of it."""


def log_model(run_id: str, bundle: Path, scores: Mapping[str, float] | None = None) -> LoggedBundle:
    """Log the bundle as a pyfunc model of the run, with the run's metrics, and its step; one that is there stays.

    `scores`: of a model before the last step, what its own evaluation found; the run's last metrics are not its own.
    """
    config = load_bundle(bundle).config
    client = mlflow.MlflowClient()
    run = client.get_run(run_id)
    steps = int(config.training.get("steps", 0))
    named = run.data.params
    facts = {
        "preset": named.get("preset", "custom"),
        "size": str(config.model.size),
        "steps": str(steps),
        "data_set": named.get("dataset", "not recorded"),
        "init_from": named.get("init_from", "none"),
    }
    name = model_name(run.info.run_name or run_id, steps)
    for there in client.search_logged_models([run.info.experiment_id], filter_string=f"name = '{name}'"):
        if there.source_run_id == run_id:
            return LoggedBundle(model_id=there.model_id, uri=there.model_uri, facts=facts)
    with mlflow.start_run(run_id=run_id):
        info = mlflow.pyfunc.log_model(name=name, step=steps, params=facts, **pyfunc_options(bundle))
    link_metrics(client, run, str(info.model_id), steps, scores)
    return LoggedBundle(model_id=str(info.model_id), uri=info.model_uri, facts=facts)


def register(run_id: str, bundle: Path, name: str, scores: Mapping[str, float] | None = None) -> int:
    """Log the bundle as a pyfunc model of the run and make it a version of `name`; returns the version's number.

    The bundle lies at `artifacts/bundle` of the model; the code is a file and our package, nothing is pickled. The
    version has the model card as its description, licence and sources as tags. `scores`: see `log_model`.

    Raises IcfaceError when MLflow refuses the name.
    """
    config = load_bundle(bundle).config
    card = (bundle / "README.md").read_text()
    client = mlflow.MlflowClient()
    logged = log_model(run_id, bundle, scores)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise IcfaceError(f"{name!r} cannot be registered: {first_line(error)}") from None
    made = client.create_model_version(
        name,
        logged.uri,
        run_id=run_id,
        tags={
            LICENCE_TAG: config.licence,
            SOURCES_TAG: json.dumps(config.sources)[:TAG_LENGTH],
            STEPS_TAG: logged.facts["steps"],
            MODEL_TAG: logged.model_id,
        },
        description=f"{headline(logged.facts)}\n\n{card}"[:TAG_LENGTH],
        model_id=logged.model_id,
    )
    client.set_logged_model_tags(
        logged.model_id, {"mlflow.modelVersions": json.dumps([{"name": name, "version": int(made.version)}])}
    )
    return int(made.version)


@dataclass(frozen=True, kw_only=True)
class Version:
    """A registered version."""

    name: str
    number: int
    aliases: tuple[str, ...]
    created: datetime
    run_id: str
    licence: str
    retired: str | None = None
    """Why it is not to be used any more; None while it is."""
    evaluation: dict[str, Any] | None
    """`conditions`, `metrics` and `pairs` of its last evaluation; `copy_source`, and `counts` of pairs and people."""


def versions(name: str | None = None) -> list[Version]:
    """Every registered version, or those of `name`, newest first. Raises IcfaceError for an unknown name."""
    client = mlflow.MlflowClient()
    names = [name] if name else [model.name for model in found_by(client.search_registered_models)]
    found = []
    for each in names:
        aliases = _aliases(each)
        for item in found_by(client.search_model_versions, f"name='{each}'"):
            number = int(item.version)
            evaluation = item.tags.get(EVALUATION_TAG)
            found.append(
                Version(
                    name=each,
                    number=number,
                    aliases=tuple(sorted(alias for alias, at in aliases.items() if at == number)),
                    created=datetime.fromtimestamp(item.creation_timestamp / 1000, UTC),
                    run_id=item.run_id or "",
                    licence=item.tags.get(LICENCE_TAG, "unknown"),
                    retired=item.tags.get(RETIRED_TAG),
                    evaluation=json.loads(evaluation) if evaluation else None,
                )
            )
    return sorted(found, key=lambda item: (item.name, -item.number))


def version(name: str, number: int) -> Version:
    """One registered version. Raises IcfaceError that names those there are when it is not one."""
    found = {item.number: item for item in versions(name)}
    if number not in found:
        raise IcfaceError(f"{name} has no version {number}; it has {', '.join(map(str, sorted(found))) or 'none'}")
    return found[number]


def trained_on(url: str, sha256: str) -> list[Version]:
    """Registered versions whose run read the data set at `url`, or one whose dataset.json had this hash."""
    client = mlflow.MlflowClient()
    place = Folder.at(url).absolute
    found = []
    for item in versions():
        try:
            tags = client.get_run(item.run_id).data.tags if item.run_id else {}
        except MlflowException:  # the run was deleted, the version was not
            continue
        used = [(tags.get("icface.dataset"), tags.get("icface.dataset_hash"))]
        used += [(other["url"], other["sha256"]) for other in mixed_with(tags)]
        if any(known_hash == sha256 or (known and Folder.at(known).absolute == place) for known, known_hash in used):
            found.append(item)
    return found


def mixed_with(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """The other data sets of a training, by the tags of its run: `url`, `share`, `sha256`, `licence` of each."""
    return list(json.loads(tags.get("icface.mixed_with", "[]")))


def set_alias(name: str, number: int, alias: str, reason: str) -> int | None:
    """Let an alias name this version, and keep the reason with it; returns the version that had it before.

    The tag with the reason leaves the version that loses the alias. Raises IcfaceError for an alias MLflow refuses.
    """
    client = mlflow.MlflowClient()
    before = _aliases(name).get(alias)
    try:
        client.set_registered_model_alias(name, alias, str(number))
    except MlflowException as error:
        raise IcfaceError(f"the alias {alias!r} is refused: {first_line(error)}") from None
    client.set_model_version_tag(name, str(number), REASON_TAG, f"{alias}: {reason}"[:TAG_LENGTH])
    if before is not None and before != number:
        told = client.get_model_version(name, str(before)).tags.get(REASON_TAG, "")
        if told.startswith(f"{alias}: "):
            client.delete_model_version_tag(name, str(before), REASON_TAG)
    return before


def _aliases(name: str) -> dict[str, int]:
    return {alias: int(number) for alias, number in registered_model(name).aliases.items()}


def registered_model(name: str) -> Any:
    """MLflow's registered model of that name, without its versions. Raises IcfaceError when there is none."""
    try:
        return mlflow.MlflowClient().get_registered_model(name)
    except MlflowException:
        raise IcfaceError(f"no model {name!r} is registered in {mlflow.get_tracking_uri()}") from None
