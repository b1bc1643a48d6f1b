import os

import pytest

from icface.errors import IcfaceError
from orchestration.__main__ import main
from orchestration.tracking import credentials
from orchestration.tracking.run_logger import tracking_uri, use_tracking


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (credentials.URI, credentials.USERNAME, credentials.PASSWORD):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.mark.parametrize(
    ("uri", "clean", "name", "password"),
    [
        ("http://alice:made-up@host:5000", "http://host:5000", "alice", "made-up"),
        ("https://alice:p%40ss%3A@host/mlflow", "https://host/mlflow", "alice", "p@ss:"),
        ("http://token@host", "http://host", "token", ""),
    ],
)
def test_a_password_goes_to_its_variable_and_back(uri: str, clean: str, name: str, password: str) -> None:
    known: dict[str, str] = {}
    assert credentials.take(uri, known) == clean
    assert known == {credentials.USERNAME: name, credentials.PASSWORD: password}
    again: dict[str, str] = {}
    assert credentials.take(credentials.complete(clean, known), again) == clean
    assert again == known


@pytest.mark.parametrize("uri", ["http://host:5000", "sqlite:////a/b@c.db", "databricks", "http://host/a@b"])
def test_an_address_without_a_password_stays(uri: str) -> None:
    known: dict[str, str] = {}
    assert (credentials.take(uri, known), known) == (uri, {})
    assert credentials.complete(uri, {}) == uri


@pytest.mark.parametrize("command", [["doctor"], ["models", "list"]])
def test_no_command_shows_the_password(
    command: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(credentials.URI, "http://alice:made-up-pw@127.0.0.1:9")
    assert main(command) == 1
    said = "".join(capfd.readouterr())
    assert "127.0.0.1:9" in said
    assert "made-up-pw" not in said
    assert "made-up-pw" not in os.environ[credentials.URI]
    assert tracking_uri() == "http://127.0.0.1:9"


@pytest.mark.parametrize("uri", ["localhost:5000", "mlflow.example.org:80/x"])
def test_an_address_without_http_is_told_what_to_write(uri: str) -> None:
    with pytest.raises(IcfaceError, match=f"write http://{uri}$"):
        use_tracking(uri)
