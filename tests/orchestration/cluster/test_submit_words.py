"""What of `icface submit` needs no cluster."""

from types import SimpleNamespace

import pytest

from icface.errors import IcfaceError
from orchestration.__main__ import main, without_style
from orchestration.cluster import submission
from orchestration.cluster.submitted_command import gpus, prepared, stop_seconds


def test_only_what_is_set_is_passed_on(monkeypatch: pytest.MonkeyPatch):
    for name in submission.PASSED_ON:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("MINE", "1")
    assert submission.passed_on() == {"AWS_ACCESS_KEY_ID": "key"}
    assert submission.passed_on(["MINE"]) == {"AWS_ACCESS_KEY_ID": "key", "MINE": "1"}
    with pytest.raises(IcfaceError, match="--env ABSENT"):
        submission.passed_on(["ABSENT"])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["preprocess", "/clips", "/data", "--address", "127.0.0.1"], 1, "name the head's job server"),
        (
            ["preprocess", "/clips", "/data", "--address", "http://127.0.0.1:9"],
            1,
            "does not answer as a Ray job server",
        ),
        (
            ["train", "/data", "--storage", "/runs", "--address", "http://127.0.0.1:9"],
            1,
            "export MLFLOW_TRACKING_URI",
        ),
        (["demo", "--address", "http://127.0.0.1:9"], 1, "submit takes one of the commands"),
        (["train", "data", "--address", "http://127.0.0.1:9"], 1, "data: the job would look for it in its own folder"),
        (["evaluate", "models:/a/1", "runs/x", "--address", "http://127.0.0.1:9"], 1, "runs/x: the job would look"),
        (["train", "/data", "--gpu", "--address", "http://127.0.0.1:9"], 1, "add --storage with a path"),
        (["train", "/d", "--storage", "runs", "--address", "http://127.0.0.1:9"], 1, "runs: the job would look"),
        (["train", "/d", "--storage=./r", "--address", "http://127.0.0.1:9"], 1, "./r: the job would look"),
        (["train", "--help", "--address", "http://127.0.0.1:9"], 1, "icface train --help"),
        (["run", "flow.yaml", "--address", "http://127.0.0.1:9"], 1, "flow.yaml: the job would look"),
        (["animate", "/m", "/p.png", "--set", "AU12=1", "--address", "http://127.0.0.1:9"], 1, "add -o with a path"),
        (["animate", "/m", "/p", "-o", "/o.mp4", "--drive", "v", "--address", "http://127.0.0.1:9"], 1, "v: the job"),
        (["animate", "models:/a/1", "/p", "-o", "/o.mp4", "--address", "http://127.0.0.1:9"], 1, "export MLFLOW_TRACK"),
        (
            ["dataset", "forget", "/d", "--identity", "x", "--address", "http://127.0.0.1:9"],
            1,
            "export MLFLOW_TRACKING",
        ),
        (["dataset", "--address", "http://127.0.0.1:9"], 1, "name what is to be done"),
        (["logs", "--address", "http://127.0.0.1:9"], 2, "JOB"),
        (["list"], 2, "--address"),
        (["--no-wait"], 2, "usage"),
        ([], 2, ""),
    ],
)
def test_what_cannot_be_submitted_is_one_line(
    words: list[str],
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["submit", *words]) == status
    assert said in capsys.readouterr().err


def test_a_style_of_output_goes_with_the_job():
    assert without_style(["submit", "train", "/data", "--output", "plain"]) == (
        ["submit", "train", "/data", "--output", "plain"],
        "plain",
    )
    assert without_style(["submit", "status", "job", "--output=json"]) == (["submit", "status", "job"], "json")
    assert without_style(["submit", "list", "--output", "plain"]) == (["submit", "list"], "plain")


def test_what_works_on_the_whole_cluster_joins_it():
    tracking = "http://127.0.0.1:5000"
    assert prepared(["preprocess", "/c", "/d"], "")[-2:] == ["--address", "auto"]
    assert prepared(["dataset", "synthesise", "/d"], "")[-2:] == ["--address", "auto"]
    for words in (
        ["dataset", "verify", "/d"],
        ["animate", "/m", "/p.png", "--eyes-from", "source", "--drive=/v.mp4", "-o", "s3://b/o.mp4"],
        ["evaluate", "models:/a/1", "/d", "--json", "/r.json"],
        ["run", "/flows/one.yaml"],
        ["evaluate", "starter", "/d"],
    ):
        assert prepared(words, tracking) == words


def test_what_a_job_gets_besides():
    assert gpus(["evaluate", "models:/a/1", "/d", "--gpu"]) == 1
    assert gpus(["train", "/d", "--gpu"]) == 0, "its ranks have them"
    assert stop_seconds(["train", "/d"]) > stop_seconds(["evaluate", "/m", "/d"])


class Head:
    """A job server that answers with what is given, one after the other; errors are raised, the last one stays."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)

    def get_job_info(self, job: str) -> object:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(
            status=SimpleNamespace(value=answer), start_time=None, end_time=None, message="", entrypoint="icface train"
        )

    def get_job_logs(self, job: str) -> str:
        return "written\n"


def followed(monkeypatch: pytest.MonkeyPatch, head: Head) -> tuple[str, str]:
    """How the job ended, and what it had written."""
    monkeypatch.setattr(submission, "client", lambda address: head)
    monkeypatch.setattr(submission, "POLL_SECONDS", 0.001)
    written: list[str] = []
    return submission.follow("http://head:8265", "job", written.append, written.append).status, "".join(written)


def test_a_moment_without_the_head_ends_no_following(monkeypatch: pytest.MonkeyPatch):
    gone = ConnectionError("Connection reset by peer")
    assert followed(monkeypatch, Head("RUNNING", gone, gone, "SUCCEEDED")) == ("SUCCEEDED", "written\n")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            ConnectionError("Connection reset by peer"),
            "http://head:8265 does not answer as a Ray job server: Connection",
        ),
        (RuntimeError("Request failed with status code 404: Job job does not exist."), "8265 knows no job job$"),
        (RuntimeError("Request failed with status code 401: no."), "wants a token"),
    ],
)
def test_a_head_that_stays_away_and_a_job_that_it_does_not_know(monkeypatch: pytest.MonkeyPatch, answer, said: str):
    monkeypatch.setattr(submission, "PATIENCE", 0.01)
    with pytest.raises(IcfaceError, match=said):
        followed(monkeypatch, Head("RUNNING", answer))
