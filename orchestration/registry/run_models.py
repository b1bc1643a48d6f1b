"""The model of a run after some of its steps, `RUN@STEP`: from a checkpoint in the run's folder, or a kept bundle."""

import atexit
import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from icface.bundle import BundleConfig, ICface, save_bundle
from icface.errors import IcfaceError
from icface.training.checkpoint import FILE, load_state
from pipelines.storage import Folder

MODEL = "model.json"
"""In a run's folder: what its bundle will say of itself."""
AT = re.compile(r"(.+)@(\d+)")
LAST = "config.json"
"""The file of a bundle that is written last: with it the bundle is whole."""
_BUNDLE, _CHECKPOINT = re.compile(r"bundle_(\d{8})"), re.compile(r"checkpoint_(\d{8})")


def bundle_at(step: int) -> str:
    """The name of the bundle of a step in a run's folder.

    >>> bundle_at(1000)
    'bundle_00001000'
    """
    return f"bundle_{step:08d}"


def bundle_steps(folder: Folder) -> list[int]:
    """The steps of which a run's folder has a whole bundle, in order."""
    return [step for step in _steps(folder, _BUNDLE) if folder.exists(f"{bundle_at(step)}/{LAST}")]


def note_model(folder: Folder, config: BundleConfig) -> None:
    """Keep what a bundle of the run says of itself, so that its checkpoints can be read as models."""
    folder.write(MODEL, (json.dumps(config.to_json(), indent=2) + "\n").encode())


def noted_model(folder: Folder) -> BundleConfig:
    """What `note_model` kept. Raises FileNotFoundError, and IcfaceError where it is damaged."""
    text = folder.read(MODEL)
    try:
        return BundleConfig.from_json(json.loads(text))
    except ValueError as error:
        raise IcfaceError(f"{folder.url}/{MODEL} is damaged: {error}") from None


def bundle_of_step(run: str, step: int) -> Path:
    """The averaged model after so many steps of the run in the folder `run`, as a bundle on this machine.

    It says that it was trained for so many steps, and is removed when this process ends. Batch norms are those of the
    training, not estimated again as at its end. Raises IcfaceError that names the steps which there are.
    """
    folder = Folder.at(run)
    bundles, checkpoints = bundle_steps(folder), _steps(folder, _CHECKPOINT)
    if not bundles and not checkpoints and not folder.fs.exists(folder.root):
        raise IcfaceError(f"there is no run in {folder.url}")
    if step not in bundles and step not in checkpoints:
        there = ", ".join(map(str, sorted({*bundles, *checkpoints}))) or "none"
        raise IcfaceError(f"{run} has no checkpoint of step {step}; it has {there}")
    target = Path(tempfile.mkdtemp(prefix="icface-model-"))
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    if step in bundles:
        for file in folder.names(bundle_at(step)):
            (target / file).write_bytes(folder.read(f"{bundle_at(step)}/{file}"))
        return target
    try:
        config = noted_model(folder)
    except FileNotFoundError:
        raise IcfaceError(
            f"{run} was trained by an older icface and does not say what its model is: `icface train --resume` with "
            "its --name and --storage writes that down"
        ) from None
    (target / FILE).write_bytes(folder.read(f"checkpoint_{step:08d}/{FILE}"))
    state = load_state(target)
    (target / FILE).unlink()
    model = ICface(replace(config, training={**config.training, "steps": step}))
    model.load_state_dict(state["average"])
    save_bundle(model.eval(), target / "bundle")
    return target / "bundle"


def _steps(folder: Folder, name: re.Pattern[str]) -> list[int]:
    """The steps, in order, of what a run's folder has under such a name."""
    folder.fs.invalidate_cache()
    try:
        paths = folder.fs.ls(folder.root, detail=False)
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = (name.fullmatch(path.rstrip("/").rsplit("/", 1)[-1]) for path in paths)
    return sorted(int(match[1]) for match in found if match)
