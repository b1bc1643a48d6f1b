"""Commands as Ray jobs, on a head of their own with its real job server."""

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from icface.images import encode_png
from icface.video.reading import read_frames
from orchestration.__main__ import main
from orchestration.cluster import submission
from pipelines.dataset import Dataset
from pipelines.storage import Folder
from tests.orchestration.cluster.conftest import SECRET

pytestmark = pytest.mark.system


@pytest.fixture
def clips(tmp_path: Path, sample_clips: dict[str, Path]) -> Path:
    place = tmp_path / "clips/ann/v/1.mp4"
    place.parent.mkdir(parents=True)
    shutil.copy(sample_clips["single_face.mp4"], place)
    return tmp_path / "clips"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket on a server that speaks S3. Only a job that was given keys and the server's address can read it."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    Folder.at("s3://bucket/x").fs.mkdir("bucket")
    yield "s3://bucket"
    patch.undo()
    server.stop()


def wheel(folder: Path) -> Path:
    """A package that says so whenever a Python starts that has it."""
    path = folder / "told-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("told.pth", 'import sys; sys.stderr.write("the requirement told is installed\\n")\n')
        archive.writestr("told-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: told\nVersion: 1.0\n")
        archive.writestr("told-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("told-1.0.dist-info/RECORD", "")
    return path


def test_preprocess_runs_there_and_its_output_comes_here(
    head: str,
    bucket: str,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    source = Folder.at(f"{bucket}/clips")
    source.write("ann/v/1.mp4", (clips / "ann/v/1.mp4").read_bytes())
    (tmp_path / "requirements.txt").write_text(f"# one package\ntold @ {wheel(tmp_path).as_uri()}\n")
    monkeypatch.chdir(tmp_path)
    words = ["submit", "preprocess", source.url, f"{bucket}/data", "--size", "32", "--every", "5"]
    words += ["--val-fraction", "0", "--env", "ICFACE_TEST_SECRET", "--address", head]
    assert main(words) == 0
    said = capsys.readouterr()
    assert '"status": "SUCCEEDED"' in said.out
    assert "1 ok" in said.out, "the job's own result line is shown"
    assert "the requirement told is installed" in said.out
    assert "AWS_SECRET_ACCESS_KEY" in said.out
    assert "ICFACE_TEST_SECRET" in said.out
    assert SECRET not in said.out + said.err
    # Its workers had the keys: the clip was read and the data set written with them.
    assert Dataset.open(f"{bucket}/data").row_groups("train")


def test_no_log_of_the_cluster_has_a_value(head: str, place: Path):
    # After the job above; a job's variables are in Ray's logs wherever they are given to Ray as such.
    logs = [path for path in place.rglob("*") if path.is_file() and "logs" in path.parts]
    assert any(path.name == "runtime_env_agent.log" and path.stat().st_size for path in logs)
    assert not [path.name for path in logs if SECRET.encode() in path.read_bytes()]


def test_a_job_that_fails_is_a_failure_here(
    head: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    words = ["submit", "evaluate", str(tmp_path / "nobody"), str(tmp_path / "none"), "--address", head]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "nobody is not a model" in said.out
    assert "ended as FAILED" in said.err


def test_no_wait_status_and_stop(head: str, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for number in range(2, 40):  # enough to be at work still when it is asked to stop
        (clips / "ann/v" / f"{number}.mp4").symlink_to(clips / "ann/v/1.mp4")
    words = ["submit", "preprocess", str(clips), str(tmp_path / "data"), "--val-fraction", "0", "--workers", "1"]
    assert main([*words, "--no-wait", "--address", head]) == 0
    job = capsys.readouterr().out.split('"job": "')[-1].split('"')[0]
    deadline = time.monotonic() + 300
    while submission.state(head, job).status == "PENDING":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert main(["submit", "stop", job, "--address", head]) == 0
    assert '"status": "STOPPED"' in capsys.readouterr().out
    assert main(["submit", "status", job, "--address", head]) == 0
    assert '"status": "STOPPED"' in capsys.readouterr().out
    assert main(["submit", "list", "--address", head]) == 0
    table = json.loads(capsys.readouterr().out.splitlines()[-1])
    newest = table["rows"][0]
    assert (newest["job"], newest["status"]) == (job, "STOPPED")
    assert newest["command"].startswith(f"icface preprocess {clips}")
    assert main(["submit", "logs", job, "--address", head]) == 0
    assert f"Running entrypoint for job {job}" in capsys.readouterr().out
    assert main(["submit", "logs", job, "--follow", "--address", head]) == 1
    assert "ended as STOPPED" in capsys.readouterr().err
    assert main(["submit", "status", "nonesuch", "--address", head]) == 1
    assert "knows no job nonesuch" in capsys.readouterr().err


def test_a_data_set_and_a_portrait_are_done_there(
    head: str, small_dataset: Path, untrained_bundle: Path, sample_clips: dict[str, Path], tmp_path: Path, capsys
):
    assert main(["submit", "dataset", "verify", str(small_dataset), "--address", head]) == 0
    assert '"row_groups": ' in capsys.readouterr().out
    portrait, made = tmp_path / "portrait.png", tmp_path / "made.png"
    _, frames = next(iter(read_frames(sample_clips["single_face.mp4"], window=1)))
    portrait.write_bytes(encode_png(frames[0]))
    words = ["submit", "animate", str(untrained_bundle), str(portrait), "--set", "AU12=1", "-o", str(made)]
    assert main([*words, "--address", head]) == 0
    assert made.stat().st_size > 0


def test_a_missing_token_is_a_sentence(head: str):
    program = "from orchestration.__main__ import main; raise SystemExit(main())"
    words = ["submit", "status", "x", "--address", head]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    # Ray would look for a token in the home folder.
    bare |= {"HOME": "/nonexistent", "PYTHONPATH": str(Path(submission.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=bare, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "RAY_AUTH_TOKEN_PATH" in done.stderr
    assert done.stderr.count("\n") == 1
