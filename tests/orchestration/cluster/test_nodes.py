"""`icface doctor --address` and what is refused before a run: sentences here, two real nodes in the system tests."""

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from support.ray_nodes import patient

from icface.errors import IcfaceError
from orchestration.__main__ import main
from orchestration.cluster.nodes import NodeReport, check_cluster_consistency, probe_nodes, problems
from orchestration.cluster.versions import versions
from pipelines.dataset import META, Dataset
from pipelines.storage import Folder

WANTED = {"python": "3.11.2", "torch": "2.13.0"}
GOOD = NodeReport(node="10.0.0.1", versions=WANTED, cores=4, dataset_hash="a")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"versions": {**WANTED, "torch": "2.12.0"}}, "10.0.0.1 has torch 2.12.0 instead of 2.13.0"),
        ({"versions": {**WANTED, "torch": "none"}}, "torch none instead of 2.13.0: install the same requirements.lock"),
        ({"dataset_hash": "b"}, "reads another data set"),
        ({"dataset_hash": None, "dataset_trouble": "no such bucket"}, "cannot read the data set: no such bucket"),
        ({"storage_trouble": "does not show 1 of the 3 files that all wrote"}, "does not show 1 of the 3 files"),
        ({"tracking_trouble": "http://h:5000: refused"}, "does not reach the tracking server: http://h:5000: refused"),
        ({"gpus": 2, "gpu_names": ("A10G",)}, "offers 2 GPUs and its driver shows 1"),
        ({"unreachable": True, "versions": {}}, "does not answer"),
    ],
)
def test_what_would_split_or_lose_a_run_is_one_sentence(changes: dict, said: str):
    other = replace(GOOD, node="10.0.0.2")
    (line,) = problems([other, replace(GOOD, **changes)], WANTED, "a")
    assert said in line
    assert "10.0.0.1" in line


def test_equal_nodes_are_no_problem():
    assert problems([GOOD, replace(GOOD, node="10.0.0.2", gpus=1, gpu_names=("A10G",))], WANTED, "a") == []


def test_options_that_only_a_cluster_has(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor", "--storage", "s3://b"]) == 2
    assert "add --address" in capsys.readouterr().err


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """What answers as a tracking server's /health does."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()
    thread.join()


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and a node whose installation looks as if it had another pyarrow."""
    folder = tmp_path_factory.mktemp("other")
    fake = folder / "pyarrow-1.2.3.dist-info"
    fake.mkdir()
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: pyarrow\nVersion: 1.2.3\n")
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    here = str(Path(__file__).resolve().parents[3])
    with patient():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "env_vars": {"PYTHONPATH": here}})
    try:
        with patient():
            cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": os.pathsep.join([str(folder), here])})
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        patch.undo()


@pytest.mark.system
def test_the_doctor_asks_every_node(
    two_nodes: Cluster,
    server: str,
    small_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    words = ["doctor", "--address", two_nodes.address, "--dataset", str(small_dataset), "--storage", str(tmp_path)]
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.out.count("pyarrow 1.2.3 instead of") == 1
    assert said.out.count("same versions, reaches data set, storage, tracking") == 1
    assert "a run would be split or lost" in said.err
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.system
def test_what_nodes_do_not_share_is_seen(two_nodes: Cluster, server: str, small_dataset: Path, tmp_path: Path):
    ray.init(address=two_nodes.address, log_to_driver=False)
    try:
        sha256 = Dataset.open(str(small_dataset)).hash
        first, second = probe_nodes(str(small_dataset), str(tmp_path), server)
        assert (first.dataset_hash, second.dataset_hash) == (sha256, sha256)
        assert not first.storage_trouble + second.storage_trouble
        with pytest.raises(IcfaceError, match=r"has pyarrow 1\.2\.3 instead of"):
            check_cluster_consistency(server, {"the data set": (Folder.at(str(small_dataset)), META)})
        # Each process has a memory:// of its own, as each machine has its own disk.
        reports = probe_nodes(None, "memory://runs", "http://127.0.0.1:9")
        assert all("does not show" in report.storage_trouble for report in reports)
        assert all("127.0.0.1:9" in report.tracking_trouble for report in reports)
        gone = tmp_path / "data"
        shutil.copytree(small_dataset, gone)
        for file in (gone / "frames").rglob("*.parquet"):
            file.unlink()
        troubled = probe_nodes(str(gone), None, "sqlite:////tmp/mlflow.db")
        assert all(report.dataset_trouble for report in troubled)
        assert all("only one machine sees" in report.tracking_trouble for report in troubled)
        same = [replace(report, versions=versions()) for report in (first, second)]
        assert problems(same, versions(), sha256) == []
    finally:
        ray.shutdown()
