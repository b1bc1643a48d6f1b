"""A promotion tells a program elsewhere: docs/registry.md's webhook and receiver, with a real MLflow server."""

import http.server
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from cryptography.fernet import Fernet
from support.killed_trainings import TrackingServer

from orchestration.registry.history import give_alias
from orchestration.tracking.run_logger import use_tracking

pytestmark = pytest.mark.system

PAGE = Path(__file__).parents[3] / "docs/registry.md"
SECRET = "shared-with-the-receiver"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackingServer]:
    # A receiver on this machine without TLS is allowed for the test alone.
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    monkeypatch.setenv("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", Fernet.generate_key().decode())
    started = TrackingServer(tmp_path / "tracking")
    started.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", started.uri)
    use_tracking()
    yield started
    started.end()


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """The address of a program that keeps what it is sent, and what it was sent."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((dict(self.headers.items()), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}/hook", got
    listening.shutdown()


def test_a_promotion_reaches_the_receiver_of_the_page(server: TrackingServer, receiver):
    address, got = receiver
    make, check = re.findall(r"```python\n(.*?)```", PAGE.read_text().split("## Telling others")[1], re.DOTALL)[:2]
    exec(make.replace("https://deploy.example.org/icface", address), {"SECRET": SECRET})
    client = mlflow.MlflowClient()
    client.create_registered_model("face")
    run = client.create_run(client.create_experiment("one")).info.run_id
    client.create_model_version("face", f"runs:/{run}/bundle", run_id=run)
    give_alias("face", 1, "champion", "test")
    deadline = time.monotonic() + 300
    while not got:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    headers, body = got[0]
    told = json.loads(body)
    assert (told["entity"], told["action"]) == ("model_version_alias", "created")
    assert told["data"] == {"name": "face", "alias": "champion", "version": "1"}
    names: dict = {}
    exec(check, names)
    assert names["is_genuine"](headers, body, SECRET)
    assert not names["is_genuine"](headers, body + b" ", SECRET)
