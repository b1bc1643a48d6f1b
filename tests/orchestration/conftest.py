"""A working directory with its own MLflow store, and a model that was really trained for a few steps."""

import os
from pathlib import Path

import pytest
from support.synthetic_pairs import TINY


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of a module's tests; MLflow keeps its sqlite file there."""
    from orchestration.tracking.run_logger import use_tracking

    folder = tmp_path_factory.mktemp("workplace")
    before, uri = Path.cwd(), os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(folder)
    use_tracking()
    yield folder
    os.chdir(before)
    if uri is not None:
        os.environ["MLFLOW_TRACKING_URI"] = uri


@pytest.fixture(scope="session")
def tiny():
    """A training that takes seconds."""
    from icface.training.config import TrainConfig

    return TrainConfig.preset("small").merge(TINY)


@pytest.fixture(scope="session")
def untrained_bundle(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory, tiny) -> Path:
    """A bundle for the small data set with the weights that a training begins with."""
    import torch

    from icface.bundle import ICface, save_bundle
    from orchestration.train.bundle_config import make_bundle_config
    from pipelines.dataset import Dataset

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bundle") / "bundle"
    save_bundle(ICface(make_bundle_config(tiny, Dataset.open(str(small_dataset)))), path)
    return path


@pytest.fixture(scope="session")
def other_bundle(untrained_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, but its pictures are turned, and it was made with another licence."""
    from dataclasses import replace

    import torch

    from icface.bundle import ICface, load_bundle, save_bundle

    model = load_bundle(untrained_bundle)
    torch.manual_seed(3)
    changed = ICface(replace(model.config, licence="non-commercial"))
    changed.load_state_dict(model.state_dict())
    with torch.no_grad():
        changed.generator.affine.weight.normal_(0.0, 0.3)
    path = tmp_path_factory.mktemp("other") / "bundle"
    save_bundle(changed, path)
    return path


@pytest.fixture(scope="module")
def portrait(sample_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of one face."""
    from icface.images import encode_png
    from icface.video.reading import read_frames

    path = tmp_path_factory.mktemp("portrait") / "portrait.png"
    _, frames = next(read_frames(sample_clips["single_face.mp4"]))
    path.write_bytes(encode_png(frames[0]))
    return path


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of three frames that smiles and turns."""
    import pandas as pd

    path = tmp_path_factory.mktemp("driver") / "driver.csv"
    pd.DataFrame({"timestamp": [0.0, 0.1, 0.2], "AU12": [0, 2, 4], "pose_yaw": [0, 0.1, 0.9]}).to_csv(path, index=False)
    return path
