"""The sqlite store beside a project: moved, deleted, locked, outdated, damaged."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from icface.errors import IcfaceError
from orchestration.__main__ import main
from orchestration.tracking import local_store
from orchestration.tracking.run_logger import experiment_id, use_tracking


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run, an artifact and a registered version."""
    project = tmp_path_factory.mktemp("first") / "my project"
    project.mkdir()
    before = Path.cwd()
    os.chdir(project)
    uri = os.environ.pop("MLFLOW_TRACKING_URI", None)
    try:
        use_tracking()
        client = mlflow.MlflowClient()
        run = client.create_run(experiment_id()).info.run_id
        client.log_text(run, "kept", "note.txt")
        client.create_registered_model("face")
        client.create_model_version("face", f"{client.get_run(run).info.artifact_uri}/bundle", run_id=run)
    finally:
        os.chdir(before)
        if uri is not None:
            os.environ["MLFLOW_TRACKING_URI"] = uri
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it in a place of its own, repaired."""
    place = tmp_path / "project"
    shutil.copytree(made, place)
    local_store.fix(place / "mlflow.db")
    monkeypatch.chdir(place)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield place


def test_a_moved_project_is_refused_then_fixed_and_writes_nothing_to_the_old_place(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = project.rename(tmp_path / "re named")
    monkeypatch.chdir(moved)
    with pytest.raises(IcfaceError, match=f"was moved from {project}: icface doctor --fix"):
        use_tracking()
    assert main(["models", "list"]) == 1
    assert "icface doctor --fix" in capsys.readouterr().err
    assert main(["doctor", "--fix"]) == 0
    use_tracking()
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([experiment_id()])
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/note.txt") == "kept"
    client.log_text(run.info.run_id, "new", "new.txt")
    version = client.get_model_version("face", "1")
    assert version.source.startswith((moved / "mlartifacts").as_uri())
    assert not project.exists()
    assert local_store.trouble(moved / "mlflow.db") is None
    assert (moved / "mlflow.db.before-fix").exists()


def test_a_deleted_experiment_is_told_and_restored(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    use_tracking()
    client = mlflow.MlflowClient()
    number = experiment_id()
    client.delete_experiment(number)
    with pytest.raises(IcfaceError, match="was deleted: `icface doctor --fix` restores it"):
        experiment_id()
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "was deleted" in told
    assert "icface doctor --fix" in told
    assert main(["doctor", "--fix"]) == 0
    assert experiment_id() == number
    (run,) = client.search_runs([number])
    client.set_tag(run.info.run_id, "a", "b")


def test_a_locked_store_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **{**options, "timeout": 0.1}))
    with connect(project / "mlflow.db") as holder:
        holder.execute("BEGIN EXCLUSIVE")
        said = f"locked: end the process that holds it .`fuser {project / 'mlflow.db'}`"
        with pytest.raises(IcfaceError, match=said):
            use_tracking()
    holder.close()


def test_what_a_killed_process_had_half_written_is_rolled_back(project: Path) -> None:
    # Its cache is too small for what it writes, so pages of the transaction are in the file when it dies.
    half = """
import os, signal, sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("PRAGMA cache_size = 1")
store.execute("BEGIN IMMEDIATE")
store.execute("UPDATE experiments SET name = 'half' WHERE name = 'icface'")
for row in range(2000):
    store.execute("INSERT INTO experiments (name, lifecycle_stage) VALUES (?, 'active')", (f"row {row}" * 9,))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", half, str(project / "mlflow.db")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (project / "mlflow.db-journal").stat().st_size > 0
    use_tracking()
    assert [run.data.tags["mlflow.runName"] for run in mlflow.MlflowClient().search_runs([experiment_id()])]
    assert not (project / "mlflow.db-journal").exists()


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("5b0e9adcef9c", "an older MLflow made it: make a copy, then run `mlflow db upgrade sqlite:///"),
        ("ffffffffffff", "a newer MLflow than "),
    ],
)
def test_a_store_of_another_mlflow_is_told(
    revision: str, said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(project / "mlflow.db") as store:
        store.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    store.close()
    assert main(["doctor"]) == 1
    assert said.split(":")[0] in " ".join(capsys.readouterr().out.split())
    for words in (["models", "list"], ["evaluate", "models:/face/1", "data"]):
        assert main(words) == 1
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1


def test_a_file_that_is_no_store_is_told(project: Path) -> None:
    (project / "mlflow.db").write_bytes(b"not a database, whatever its name says" * 40)
    with pytest.raises(IcfaceError, match="not a database: move it away"):
        use_tracking()


def test_a_new_project_is_in_no_trouble(tmp_path: Path) -> None:
    assert local_store.trouble(tmp_path / "mlflow.db") is None
    assert local_store.fix(tmp_path / "mlflow.db") == []
    assert not (tmp_path / "mlflow.db").exists()
