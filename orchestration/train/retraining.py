"""What has to be trained again when people were taken out of a data set: `icface train --without DATASET`."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from icface.errors import IcfaceError
from icface.training.config import PRESETS, TrainConfig, current_names
from orchestration.config import TrainJob
from orchestration.registry import versions as registry
from orchestration.registry.references import run_of
from orchestration.tracking.run_logger import flat
from orchestration.tracking.searching import found_by
from orchestration.train.run_folder import BUNDLE, EVALUATING, RunRecord
from pipelines.dataset import Dataset
from pipelines.exclusions import Exclusions
from pipelines.storage import Folder

_MADE = re.compile(rf"(.+?)(?:@\d+|/{BUNDLE}(?:_\d+)?)")
"""A model in a run's folder: of the end, of a step that was kept, or of a checkpoint."""
AGAIN = "-again"
"""What the name of a run that replaces another one ends in."""


@dataclass(frozen=True, kw_only=True)
class Affected:
    """A run that saw what is in the data set no longer, itself or through the model that it began with."""

    run_id: str
    name: str
    status: str
    """FINISHED, KILLED, FAILED or RUNNING in MLflow."""
    versions: tuple[str, ...]
    """Registered versions that came of it, as models:/NAME/VERSION, with their aliases."""
    folder: str
    """Of its checkpoints and its bundle."""
    why: str
    command: str | None
    """Trains it again; None where it left no model, or where its folder is gone."""


def affected(url: str) -> list[Affected]:
    """The runs that were trained on the data set at `url` as it was before, parents before those that began with them.

    Raises IcfaceError when there is no data set, or when no one was taken out of it.
    """
    dataset, place = Dataset.open(url), Folder.at(url).absolute
    exclusions = Exclusions.read(Folder.at(url))
    if not exclusions.identities and not exclusions.clips:
        raise IcfaceError(f"nobody was taken out of {url}: `icface dataset forget {url} --identity NAME` does that")
    runs = list(_runs())
    made: dict[str, list[str]] = {}
    for item in registry.versions():
        aliases = f" ({', '.join(item.aliases)})" if item.aliases else ""
        made.setdefault(item.run_id, []).append(f"models:/{item.name}/{item.number}{aliases}")
    known: dict[str, Affected] = {}
    for run in runs:
        tags = run.data.tags
        used = [(tags["icface.dataset"], tags.get("icface.dataset_hash"))]
        used += [(other["url"], other["sha256"]) for other in registry.mixed_with(tags)]
        if any(_same(known_url, place) and sha256 != dataset.hash for known_url, sha256 in used):
            known[run.info.run_id] = _affected(run, made, f"trained on {url} as it was before", None)
    # Whoever began with such a model, on whatever data, has seen the faces too.
    before = -1
    while before != len(known):
        before = len(known)
        for run in runs:
            parent = _parent(run, runs)
            if parent in known and run.info.run_id not in known:
                why = f"began with the model of {known[parent].name}"
                known[run.info.run_id] = _affected(run, made, why, known[parent])
    return list(known.values())


def _affected(run: Any, made: dict[str, list[str]], why: str, parent: Affected | None) -> Affected:
    folder = run.data.tags.get("icface.checkpoints", "")
    finished = run.info.status == "FINISHED"
    return Affected(
        run_id=run.info.run_id,
        name=run.info.run_name,
        status=run.info.status,
        versions=tuple(made.get(run.info.run_id, [])),
        folder=folder,
        why=why,
        command=_command(run.info.run_name, folder, parent) if finished and folder else None,
    )


def _command(name: str, place: str, parent: Affected | None) -> str | None:
    """The command that trains the run in the folder `place` again, under another name."""
    folder = Folder.at(place)
    record = RunRecord.read(folder)
    if record is None:
        return None
    job = record.job
    preset = job.get("preset") if job.get("preset") in PRESETS else "icface"
    storage = folder.url.rstrip("/").rpartition("/")[0]
    words = ["icface", "train", record.dataset, "--preset", str(preset), "--name", f"{name}{AGAIN}"]
    words += ["--storage", storage]
    for option in ("workers", "ingest", "register", *EVALUATING):
        usual = getattr(TrainJob, option)
        if job.get(option, usual) != usual:
            words += [f"--{option.replace('_', '-')}", str(job[option])]
    words += ["--gpu"] if job.get("gpu") else []
    words += ["--with", *job["mixed_with"]] if job.get("mixed_with") else []
    if record.init_from is not None:
        # Its parent's new model, where the parent has to be trained again too.
        words += ["--init-from", record.init_from if parent is None else _again(parent)]
    return shlex.join([*words, *_differences(str(preset), record.config, record.init_from is not None)])


def _again(parent: Affected) -> str:
    """The model that the parent's own command will make."""
    if Folder.at(parent.folder).local:
        return f"{parent.folder.rstrip('/')}{AGAIN}/{BUNDLE}"
    # A bundle is begun with from a folder or from MLflow; its run has no id yet.
    return f"runs:/ID-OF-{parent.name}{AGAIN}/{BUNDLE}"


def _differences(preset: str, config: dict[str, Any], from_model: bool) -> list[str]:
    """Flags for the fields that differ from the preset; `from_model`: the sizes come from the model begun with."""
    usual = flat(TrainConfig.preset(preset).to_json())
    words = []
    for name, value in flat(current_names(config)[0]).items():
        if name not in usual or value == usual[name] or (from_model and name.startswith("model.")):
            continue
        section, _, field = name.replace("_", "-").rpartition(".")
        prefix = f"--{section}." if section else "--"
        if isinstance(value, bool):
            words.append(f"{prefix}{'' if value else 'no-'}{field}")
        else:
            words += [f"{prefix}{field}", str(value)]
    return words


def _runs() -> Iterator[Any]:
    """The trainings that MLflow knows, in every experiment, the first begun first."""
    client = mlflow.MlflowClient()
    everywhere = [found.experiment_id for found in found_by(client.search_experiments)]
    wanted = "tags.`icface.dataset` LIKE '%'"
    yield from found_by(client.search_runs, everywhere, wanted, order_by=["attributes.start_time ASC"])


def _parent(run: Any, runs: Sequence[Any]) -> str | None:
    """The run of the model that this one began with."""
    begun = run.data.params.get("init_from")
    if begun in (None, "none"):
        return None
    if not begun.startswith(("runs:/", "models:/")) and (made := _MADE.fullmatch(begun)):
        place = made[1]
        folders = ((other, other.data.tags.get("icface.checkpoints")) for other in runs)
        return next((other.info.run_id for other, folder in folders if folder and _same(folder, place)), None)
    try:
        return run_of(begun)
    except (MlflowException, ValueError):
        return None


def _same(url: str, place: str) -> bool:
    return str(Folder.at(url).absolute) == place
