"""What a registered version holds, and that it answers where there is no checkout of this project."""

import base64
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from icface.analyzers import create
from icface.animate import Animator
from icface.bundle import load_bundle, save_bundle
from icface.errors import IcfaceError
from icface.images import decode_image, encode_jpeg, encode_png
from icface.weights import FACE_LANDMARKER, cached
from orchestration.registry import versions as registry
from orchestration.registry.example_portrait import portrait, portrait_png
from orchestration.tracking.run_logger import experiment_id


@pytest.fixture(scope="module")
def moving_bundle(other_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose pictures depend on what is asked for; its data set and its licence have names."""
    model = load_bundle(other_bundle)
    model.config = replace(model.config, training={**model.config.training, "sources": ["s3://clips/one"]})
    path = tmp_path_factory.mktemp("moving") / "bundle"
    save_bundle(model, path)
    return path


@pytest.fixture(scope="module")
def folder(workplace: Path, moving_bundle: Path) -> Path:
    """Version 1 of `held`, as it lies in the artifact store."""
    run = mlflow.MlflowClient().create_run(experiment_id()).info.run_id
    assert registry.register(run, moving_bundle, "held") == 1
    return Path(mlflow.artifacts.download_artifacts(artifact_uri="models:/held/1"))


def test_the_version_says_what_it_is(folder: Path):
    version = mlflow.MlflowClient().get_model_version("held", "1")
    assert version.tags[registry.LICENCE_TAG] == "non-commercial"
    assert json.loads(version.tags[registry.SOURCES_TAG]) == ["s3://clips/one"]
    assert version.description.startswith("Preset custom, 32 px, 6 steps. Not evaluated yet.\n\n# ICface model")
    assert "- licence: non-commercial\n- sources: s3://clips/one\n" in version.description
    model = mlflow.models.Model.load(str(folder))
    assert model.metadata["licence"] == "non-commercial"
    assert model.metadata["sources"] == ["s3://clips/one"]
    inputs = {column.name: column for column in model.signature.inputs}
    assert inputs["portrait"].required
    assert len(inputs) == 21
    assert not any(column.required for name, column in inputs.items() if name != "portrait")
    assert model.signature.outputs.input_names() == ["png", "notice"]


def test_nothing_is_pickled_and_the_code_is_with_it(folder: Path):
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"served_model.py", "artifacts/bundle/config.json", "artifacts/bundle/model.safetensors"} <= files
    assert {"code/icface/bundle.py", "artifacts/bundle/README.md", "input_example.json"} <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".pyc", ".joblib"))]
    requirements = (folder / "requirements.txt").read_text().split()
    assert len(requirements) == len(registry.SERVING_PACKAGES)
    assert not any("+" in line for line in requirements), "a local build has no such version on the package index"


def test_its_input_example_is_a_face_that_it_answers(folder: Path):
    model = mlflow.pyfunc.load_model(str(folder))
    example = model.input_example
    assert list(example.columns) == ["portrait", "pose_yaw", "AU12", "AU25"]
    (png,) = model.predict(pd.DataFrame(example))["png"]
    assert decode_image(png).shape == (32, 32, 3)


def test_the_drawn_portrait_is_found_by_the_analyzer():
    (faces,) = create("mediapipe").analyze(portrait()[None], [0], "drawn")
    assert len(faces) == 1
    assert abs(faces[0].attributes[:3]).max() < 0.2, "it looks straight ahead"


def test_what_is_left_out_keeps_the_sources_own(folder: Path, moving_bundle: Path):
    model = mlflow.pyfunc.load_model(str(folder))
    animator = Animator.from_bundle(moving_bundle)
    own = animator.prepare(portrait()).attributes
    told = {name: own[name] for name in ("pose_yaw", "AU12")}
    jpeg, png = encode_jpeg(portrait()), encode_png(portrait())
    rows = [
        {"portrait": png},
        {"portrait": png, **told},
        {"portrait": png, "AU12": 4.0},
        {"portrait": png, "AU12": 4.0, "pose_yaw": told["pose_yaw"]},
        {"portrait": jpeg, "AU12": 4.0},
    ]
    none, asked, smile, same_smile, of_jpeg = (
        decode_image(model.predict(pd.DataFrame([row]))["png"][0]).astype(int) for row in rows
    )
    assert (none == asked).all()
    assert (smile == same_smile).all()
    assert (smile != none).any()
    assert np.abs(of_jpeg - smile).mean() < 3, "a JPEG is taken as well"
    together = model.predict(pd.DataFrame(rows[:4]).astype({"AU12": float, "pose_yaw": float}))["png"]
    # Several rows are one batch, whose sums are in another order.
    for picture, alone in zip(together, (none, asked, smile, same_smile), strict=True):
        assert np.abs(decode_image(picture).astype(int) - alone).max() <= 1
    direct = next(animator.animate(portrait(), pd.DataFrame({"AU12": [4.0]})))
    assert (direct == smile).all()
    with pytest.raises(IcfaceError, match="AU14 cannot be set"):
        model.predict(pd.DataFrame({"portrait": [png], "AU14": [1.0]}))
    with pytest.raises(mlflow.exceptions.MlflowException, match="portrait"):
        model.predict(pd.DataFrame({"AU12": [1.0]}))


def test_a_value_beyond_what_was_seen_is_told_in_the_answer(folder: Path, moving_bundle: Path):
    model = mlflow.pyfunc.load_model(str(folder))
    seen = load_bundle(moving_bundle).schema.attributes[load_bundle(moving_bundle).schema.index("AU12")].seen
    assert seen is not None
    assert seen.max < 5
    table = pd.DataFrame({"portrait": [portrait_png()] * 2, "AU12": [5.0, seen.p50]})
    far, near = model.predict(table)["notice"]
    assert far == f"AU12 5 is clamped to {seen.max:.3g}, the end of what the training data shows"
    assert near == ""


ELSEWHERE = """
import base64, importlib.util, json, sys
for name in ("icface", "pipelines", "orchestration"):
    assert importlib.util.find_spec(name) is None, name
import mlflow
import pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
import icface
assert icface.__file__.startswith(sys.argv[1]), icface.__file__
example = model.input_example
print(base64.b64encode(model.predict(pd.DataFrame(example))["png"][0]).decode())
"""


def test_it_loads_on_a_machine_without_this_project(folder: Path, tmp_path: Path):
    # -S reads no .pth files: neither this checkout nor an editable installation of it is found.
    packages = Path(mlflow.__file__).parents[1]
    environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    environment |= {"PYTHONPATH": str(packages), "HOME": str(tmp_path), "ICFACE_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", ELSEWHERE, str(folder)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    there = decode_image(base64.b64decode(done.stdout.split()[-1]))
    model = mlflow.pyfunc.load_model(str(folder))
    here = decode_image(model.predict(pd.DataFrame(model.input_example))["png"][0])
    assert (there == here).all()
    assert cached(FACE_LANDMARKER) is not None
    assert not (tmp_path / ".cache/icface").exists(), "the analyzer's weights came with the model"
