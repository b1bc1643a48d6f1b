"""The bundles in a run's folder: `bundle` of the end, and `bundle_00001000` of a step that is evaluated or kept."""

import copy
import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from icface.bundle import ICface, save_bundle
from orchestration.registry.run_models import LAST, bundle_at
from orchestration.train.run_folder import BUNDLE
from pipelines.storage import TEMPORARY, Folder


def made_steps(folder: Folder) -> int | None:
    """Steps of the training that made the bundle of the end; None where there is no bundle.

    One that does not say its steps is taken for a whole one.
    """
    name = f"{BUNDLE}/{LAST}"
    if not folder.exists(name):
        return None
    try:
        return int(json.loads(folder.read(name))["training"]["steps"])
    except (ValueError, KeyError, TypeError):
        return 10**9


def of_step(model: ICface, step: int) -> ICface:
    """A copy of a model on the CPU, which says that it was trained for so many steps."""
    made = copy.deepcopy(model).cpu().eval()
    made.config = replace(model.config, training={**model.config.training, "steps": step})
    return made


def store_bundle(model: ICface, folder: Folder, name: str = BUNDLE) -> None:
    """Put the bundle into the run's folder, locally in one rename, elsewhere file by file with config.json last."""
    if folder.local:
        save_bundle(model, folder.path(name))
        return
    with tempfile.TemporaryDirectory(prefix="icface-bundle-") as temporary:
        path = Path(temporary) / BUNDLE
        save_bundle(model, path)
        for file in ("README.md", "model.safetensors", LAST):
            folder.write(f"{name}/{file}", (path / file).read_bytes())


def store_for_evaluation(model: ICface, folder: Folder, step: int) -> None:
    """Put the model after so many steps into the run's folder; one that is there is the same, and stays."""
    if not folder.exists(f"{bundle_at(step)}/{LAST}"):
        store_bundle(of_step(model, step), folder, bundle_at(step))


def remove_bundle(folder: Folder, step: int) -> None:
    """Remove the bundle of a step; it is gone as a whole."""
    name = bundle_at(step)
    if not folder.local:
        folder.remove(f"{name}/{LAST}")
        folder.remove(name)
        return
    if Path(folder.path(name)).exists():
        aside = Path(folder.path(f"{name}.{uuid.uuid4().hex[:12]}{TEMPORARY}"))
        Path(folder.path(name)).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def local_bundle(folder: Folder, name: str = BUNDLE) -> Iterator[Path]:
    """A bundle of the run's folder on this machine, for as long as the block lasts."""
    if folder.local:
        yield Path(folder.path(name))
        return
    with tempfile.TemporaryDirectory(prefix="icface-bundle-") as temporary:
        target = Path(temporary) / BUNDLE
        target.mkdir()
        for file in folder.names(name):
            (target / file).write_bytes(folder.read(f"{name}/{file}"))
        yield target
