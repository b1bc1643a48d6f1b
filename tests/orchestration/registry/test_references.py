"""Where a model that is named lies."""

import tempfile
from pathlib import Path

import mlflow
import pytest

from orchestration.registry import references


def test_a_copy_of_a_remote_model_is_removed_at_the_end_and_a_local_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stored = Path(tempfile.mkdtemp(dir=tmp_path, prefix="store-"))
    places = [lambda: stored, lambda: Path(tempfile.mkdtemp(dir=tmp_path)) / "bundle"]
    removed: list[Path] = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", lambda artifact_uri: str(places.pop(0)()))
    monkeypatch.setattr(references.atexit, "register", lambda work, folder, ignore_errors: removed.append(folder))
    assert references.downloaded("models:/face/1") == stored
    assert removed == []
    copied = references.downloaded("models:/face/1")
    assert removed == [copied.parent]
