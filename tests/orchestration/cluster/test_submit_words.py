"""What of `icface submit` needs no cluster."""

import pytest

from icface.errors import IcfaceError
from orchestration.__main__ import main, without_style
from orchestration.cluster import submission


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
        (["train", "/data", "--address", "http://127.0.0.1:9"], 1, "export MLFLOW_TRACKING_URI"),
        (["demo", "--address", "http://127.0.0.1:9"], 1, "submit takes one of the commands"),
        (["train", "data", "--address", "http://127.0.0.1:9"], 1, "data: the job would look for it in its own folder"),
        (["evaluate", "models:/a/1", "runs/x", "--address", "http://127.0.0.1:9"], 1, "runs/x: the job would look"),
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
