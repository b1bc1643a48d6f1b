"""A team's tracking server: runs in a database, artifacts in an S3 store; register, compare, promote through it."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import boto3
import mlflow
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from support.servers import free_port, wait_for_answer

from icface.bundle import load_bundle
from icface.errors import IcfaceError
from orchestration.__main__ import main
from orchestration.registry import runs
from orchestration.registry import versions as registry
from orchestration.registry.comparison import compare
from orchestration.registry.evaluation import evaluate_model
from orchestration.registry.promotion import promote
from orchestration.registry.references import resolve
from orchestration.tracking.run_logger import RunLogger, use_tracking
from pipelines.dataset import Dataset

pytestmark = pytest.mark.system

BUCKET = "mlflow"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def postgresql() -> Iterator[str]:
    """The URI of a PostgreSQL of our own, reached by a socket in a folder of its own."""
    programs = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = [folder for folder in programs if (folder / "initdb").exists()]
    if not found:
        pytest.skip("needs Debian's package postgresql")
    # It does not run as root. Its socket wants a short path, in a folder that its user may enter.
    user = pwd.getpwnam("postgres") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="icface-pg-"))
    os.chown(folder, user.pw_uid, user.pw_gid)
    try:
        subprocess.run(
            [found[0] / "initdb", "-D", folder / "data", "-U", "mlflow", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            **options,
        )
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [found[0] / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-F"],
                stdout=log,
                stderr=log,
                cwd=folder,
                **options,
            )
        try:
            deadline = time.monotonic() + 300
            while not (folder / ".s.PGSQL.5432").exists():
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.1)
            yield f"postgresql+psycopg2://mlflow@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)  # "fast": open connections are cut
            server.wait(timeout=300)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of a server that speaks S3, with a bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    s3(address).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


def s3(address: str):
    return boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )


@pytest.fixture(scope="module", params=[pytest.param("sqlite", marks=pytest.mark.soak), "postgresql"])
def server(request: pytest.FixtureRequest, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server with that database; this process has no keys of the artifact store."""
    folder = tmp_path_factory.mktemp("server")
    port = free_port()

    @contextmanager
    def sqlite() -> Iterator[str]:
        yield f"sqlite:///{folder}/mlflow.db"

    patch = pytest.MonkeyPatch()
    with {"sqlite": sqlite, "postgresql": postgresql}[request.param]() as database:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--workers", "1", "--backend-store-uri", database]
        command += ["--artifacts-destination", f"s3://{BUCKET}/{request.param}"]
        path = os.pathsep.join([str(Path(mlflow.__file__).parents[4] / "bin"), os.environ["PATH"]])
        settings = {**KEYS, "MLFLOW_S3_ENDPOINT_URL": store, "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": path}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, env={**os.environ, **settings}, stdout=log, stderr=log, cwd=folder, start_new_session=True
            )
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for_answer(f"{address}/health", process, 400, folder / "log")
            for name in KEYS:
                patch.delenv(name, raising=False)
            patch.setenv("MLFLOW_TRACKING_URI", address)
            before = mlflow.get_tracking_uri()
            use_tracking()
            try:
                yield address
            finally:
                mlflow.set_tracking_uri(before)
                patch.undo()
        finally:
            # Its workers are in its group, and may outlive it.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=30)
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)


def test_register_compare_promote(
    server: str,
    store: str,
    request: pytest.FixtureRequest,
    untrained_bundle: Path,
    other_bundle: Path,
    small_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    data = Dataset.open(str(small_dataset))
    for bundle in (untrained_bundle, other_bundle):
        run = runs.start_run("trained", {"steps": 3}, {"dataset": str(small_dataset)}, "abc", data)
        logger = RunLogger(run, tmp_path / "unsent.jsonl", server)
        for step in range(3):
            logger.metrics(step, {"loss": 1.0 - step})
        logger.picture(2, np.zeros((8, 8, 3), np.uint8))
        logger.close()
        assert logger.lost == 0
        number = registry.register(run, bundle, "face")
        runs.end_run(run, "FINISHED")
        evaluate_model(f"models:/face/{number}", str(small_dataset), groups=("held_out",), per_track=2)

    client = mlflow.MlflowClient()
    assert [metric.value for metric in client.get_metric_history(run, "loss")] == [1.0, 0.0, -1.0]
    (tracked,) = client.get_run(run).inputs.dataset_inputs
    assert tracked.dataset.digest == data.hash[:36]
    assert client.get_run(run).info.status == "FINISHED"
    keys = [item["Key"] for item in s3(store).list_objects_v2(Bucket=BUCKET)["Contents"]]
    here = next(name for name in ("sqlite", "postgresql") if name in request.node.name)
    assert any(key.startswith(f"{here}/") and key.endswith("bundle/model.safetensors") for key in keys)
    assert any(re.search(r"images/samples[%+]step[%+]2[%+].*\.png$", key) for key in keys)

    found = compare(["models:/face/1", "models:/face/2"])
    assert not found.evaluated
    assert found.samples is not None
    assert promote("face", 1, "champion").startswith("evaluated, and nothing had the alias")
    with pytest.raises(IcfaceError, match="is worse than version 1"):
        promote("face", 2, "champion")
    forced = promote("face", 2, "challenger", force=True)
    assert forced.startswith("forced: face version 2 is worse than copying the source")
    reference = resolve("models:/face@champion")
    assert reference.version == 1
    one, other = load_bundle(reference.folder).state_dict(), load_bundle(untrained_bundle).state_dict()
    assert all((one[name] == other[name]).all() for name in other)
    assert client.get_model_version("face", "1").tags[registry.REASON_TAG].startswith("champion: evaluated")

    capsys.readouterr()
    assert main(["models", "list"]) == 0
    said = capsys.readouterr().out
    assert '"aliases": "champion"' in said
    assert '"licence": "non-commercial"' in said
