"""An analyzer and a layout of another package: `icface preprocess` finds them by their entry points."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pipelines.dataset import Dataset

MODULE = '''
from dataclasses import dataclass

import numpy as np

from icface.analyzers.face import Face
from icface.analyzers.registry import AnalyzerOptions, Registration
from icface.attributes import ATTRIBUTE_NAMES
from icface.options import Decides
from pipelines.sources import Clip


@dataclass(frozen=True, kw_only=True)
class Options(AnalyzerOptions):
    smile: Decides[float] = 1.0
    """What AU12 every face has."""


class Toy:
    name = "toy"
    measures = frozenset({"AU12"})
    batch_size = 8

    def __init__(self, smile=1.0):
        self.smile = smile
        self.fingerprint = f"toy, smile {smile:g}"

    def analyze(self, frames, frame_indices, clip):
        height, width = frames.shape[1:3]
        x, y = np.meshgrid(np.linspace(0.3, 0.7, 17), np.linspace(0.3, 0.7, 4))
        landmarks = np.stack([x.ravel() * width, y.ravel() * height], axis=1).astype(np.float32)
        attributes = np.full(len(ATTRIBUTE_NAMES), np.nan, np.float32)
        attributes[:3] = 0
        attributes[ATTRIBUTE_NAMES.index("AU12")] = self.smile
        return [[Face(landmarks=landmarks, attributes=attributes, confidence=1.0)] for _ in frames]

    def close(self):
        pass


ANALYZER = Registration(implementation="toy_icface:Toy", options=Options)


def list_toys(source, layout, leftovers):
    """A folder with a file toys.txt: each line is a person and a file."""
    if not source.exists("toys.txt"):
        return None
    lines = source.read("toys.txt").decode().splitlines()
    return [Clip(f"{person}/toys/1", name, 1) for person, name in map(str.split, lines)]
'''


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables of a process that sees the package as if it were installed."""
    site = tmp_path / "site"
    about = site / "toy_icface-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "toy_icface.py").write_text(MODULE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-icface\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[icface.analyzers]\ntoy = toy_icface:ANALYZER\n\n[icface.layouts]\ntoys = toy_icface:list_toys\n"
    )
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def icface(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestration", *words], env=environment, capture_output=True, text=True, timeout=300
    )


def test_preprocess_runs_an_analyzer_and_a_layout_of_another_package(
    environment: dict[str, str], sample_clips: dict[str, Path], tmp_path: Path
):
    source, data = tmp_path / "clips", tmp_path / "data"
    source.mkdir()
    shutil.copy(sample_clips["single_face.mp4"], source / "film.bin")
    (source / "toys.txt").write_text("ann film.bin\n")
    options = ["--analyzer", "toy", "--toy-smile", "2.5", "--every", "4", "--size", "32", "--val-fraction", "0"]
    done = icface(environment, "preprocess", str(source), str(data), *options)
    assert done.returncode == 0, done.stderr
    dataset = Dataset.open(str(data))
    assert dataset.analyzer == {"name": "toy", "options": {"smile": 2.5}, "fingerprint": "toy, smile 2.5"}
    groups = [*dataset.row_groups("train"), *dataset.row_groups("train", held_out=True)]
    rows = pd.concat([dataset.read(group).to_pandas() for group in groups])
    assert set(rows["clip"]) == {"ann/toys/1"}
    assert (rows["AU12"] == 2.5).all()
    assert rows["AU25"].isna().all()
    # The option decides the labels: another value is another data set.
    other = icface(environment, "preprocess", str(source), str(data), *[*options[:3], "1", *options[4:]])
    assert other.returncode == 1
    assert "toy_smile was 2.5 and is 1.0 now" in other.stderr


def test_help_offers_its_options_and_refuses_them_for_others(environment: dict[str, str]):
    told = icface(environment, "preprocess", "--help")
    assert "--toy-smile" in told.stdout
    assert "What AU12 every face has." in told.stdout
    refused = icface(environment, "preprocess", "a", "b", "--toy-smile", "2")
    assert refused.returncode == 2
    assert "toy_smile is for --analyzer toy" in refused.stderr
