"""The registered model behind MLflow's own server: the real HTTP endpoint."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import pytest
from support.servers import free_port, wait_for_answer

import orchestration
from icface.images import decode_image, encode_jpeg
from icface.video.reading import read_frames
from orchestration.registry import versions as registry
from orchestration.tracking.run_logger import experiment_id, tracking_uri

pytestmark = pytest.mark.system
OURS = pytest.mark.parametrize("endpoint", ["icface models serve"], indirect=True, scope="module")
"""Not for MLflow's own server, which drops the fields that it does not know, and words its refusals itself."""


@pytest.fixture(scope="module", params=["mlflow models serve", "icface models serve"])
def endpoint(request: pytest.FixtureRequest, workplace: Path, other_bundle: Path):
    """The address of a server: MLflow's of a registered version, ours of a bundle folder."""
    port = free_port()
    if request.param == "icface models serve":
        command = [sys.executable, "-m", "orchestration", "models", "serve", str(other_bundle)]
        command += ["--port", str(port)]
        environment = {**os.environ, "PYTHONPATH": str(Path(orchestration.__file__).parents[1])}
    else:
        run = mlflow.MlflowClient().create_run(experiment_id()).info.run_id
        registry.register(run, other_bundle, "served")
        # MLflow looks for the environment's own programs on the PATH.
        programs = {Path(sys.executable).parent, Path(mlflow.__file__).parents[4] / "bin"}
        path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/served/1", "--env-manager"]
        command += ["local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri(), "PATH": path}
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for_answer(f"{address}/ping", server, 400)
        yield address
    finally:
        # Ours ends the server that it started, which has a process group of its own.
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=300)
    assert falls_silent(address)


def falls_silent(address: str) -> bool:
    """Whether nobody listens there any more, soon after the server's first process is gone."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/ping", timeout=2).close()
        except OSError as error:
            if "refused" in str(error):
                return True
        time.sleep(0.2)
    return False


def ask(endpoint: str, records: list[dict]) -> list[dict]:
    body = json.dumps({"dataframe_records": records}).encode()
    request = urllib.request.Request(f"{endpoint}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)["predictions"]


def test_a_portrait_in_a_png_out(endpoint: str, sample_clips: dict[str, Path]):
    _, frames = next(read_frames(sample_clips["single_face.mp4"]))
    portrait = base64.b64encode(encode_jpeg(frames[0])).decode()
    pictures = [
        decode_image(base64.b64decode(row["png"]))
        for row in ask(endpoint, [{"portrait": portrait, "AU12": 0.0}, {"portrait": portrait, "AU12": 4.0}])
    ]
    assert [picture.shape for picture in pictures] == [(32, 32, 3)] * 2
    assert (pictures[0] != pictures[1]).any()


@pytest.fixture(scope="module")
def portrait(sample_clips: dict[str, Path]) -> str:
    _, frames = next(read_frames(sample_clips["single_face.mp4"]))
    return base64.b64encode(encode_jpeg(frames[0])).decode()


def refusal(endpoint: str, body: bytes, headers: dict[str, str]) -> dict[str, str]:
    """What the server says to a request that it answers with status 400."""
    request = urllib.request.Request(f"{endpoint}/invocations", body, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=300)
    text = refused.value.read().decode()
    assert refused.value.code == 400, text
    told = json.loads(text)
    assert "Traceback" not in text
    assert "stack_trace" not in told
    assert "site-packages" not in text
    assert ".py" not in text
    return told


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"AU14": 1.0}, "AU14 cannot be set"),
        ({"AU12": 30}, "AU12: 30 lies outside 0..5"),
        ({"AU12": -1}, "AU12: -1 lies outside 0..5"),
        ({"pose_yaw": 20}, "pose_yaw: 20 lies outside -0.7..0.7 radians (20 degrees are 0.349)"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_both_servers(
    endpoint: str, portrait: str, fields: dict[str, float], sentence: str
):
    body = json.dumps({"dataframe_records": [{"portrait": portrait, **fields}]}).encode()
    told = refusal(endpoint, body, {"Content-Type": "application/json"})
    assert told["message"].startswith(sentence)


@OURS
@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"yaw": 0.2}, "yaw: here it is called pose_yaw, in radians"),
        ({"au12": 1}, "unknown attribute 'au12'; did you mean AU12? known are pose_pitch, pose_yaw"),
        ({"smile": 1}, "unknown attribute 'smile'; known are pose_pitch"),
        ({"AU12": "much"}, "AU12: a row does not hold a number"),
        ({"portrait": "bm90IGEgcGljdHVyZQ=="}, "portrait"),
        ({"portrait": None}, "portrait: a row does not hold the bytes of a JPEG or PNG, base64"),
    ],
)
def test_ours_names_the_field_of_a_request_that_it_refuses(
    endpoint: str, portrait: str, record: dict[str, object], sentence: str
):
    body = json.dumps({"dataframe_records": [{"portrait": portrait, **record}]}).encode()
    told = refusal(endpoint, body, {"Content-Type": "application/json"})
    assert told["message"].startswith(sentence)
    assert set(told) == {"error_code", "message"}


@OURS
def test_bodies_that_are_no_table_are_refused_in_a_sentence(endpoint: str, portrait: str):
    as_json = {"Content-Type": "application/json"}
    assert "JSON" in refusal(endpoint, b"{", as_json)["message"]
    assert (
        "portrait" in refusal(endpoint, json.dumps({"dataframe_records": [{"AU12": 1}]}).encode(), as_json)["message"]
    )
    assert "no rows" in refusal(endpoint, json.dumps({"dataframe_records": []}).encode(), as_json)["message"]
    asked = {"dataframe_records": [{"portrait": portrait}], "params": {"size": 64}}
    assert "'size'" in refusal(endpoint, json.dumps(asked).encode(), as_json)["message"]
