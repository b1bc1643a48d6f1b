"""Two hosts, as network namespaces with nothing but a cable between them: data, training on both, evaluation, a model.

Commands go through the job server of the head, records to a real tracking server, files to a folder that both see.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from support.killed_trainings import assert_whole, progress, wait_until
from support.ray_nodes import RAY

from icface.bundle import load_bundle
from icface.errors import IcfaceError
from orchestration.__main__ import main
from orchestration.cluster import submission

pytestmark = pytest.mark.system


@dataclass
class Host:
    """A network namespace with an address of its own, in which processes are started."""

    name: str
    address: str
    log: Path

    def start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        programs = Path(sys.executable).parent, Path(mlflow.__file__).parents[4] / "bin"
        path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, *words],
                env={**os.environ, "PATH": path, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Host]]:
    """Two hosts on one bridge, which is this process's way to them."""
    if shutil.which("ip") is None:
        pytest.skip("needs the command ip (Debian: iproute2)")
    folder, mark = tmp_path_factory.mktemp("hosts"), f"icf{os.getpid() % 10000}"
    network = f"10.77.{os.getpid() % 250}"
    found = [Host(f"{mark}{letter}", f"{network}.{number}", folder / letter) for number, letter in ((1, "a"), (2, "b"))]
    try:
        try:
            ip("link", "add", mark, "type", "bridge")
            ip("address", "add", f"{network}.254/24", "dev", mark)
            ip("link", "set", mark, "up")
            for host in found:
                ip("netns", "add", host.name)
                ip("link", "add", f"{host.name}o", "type", "veth", "peer", "name", "eth0", "netns", host.name)
                ip("link", "set", f"{host.name}o", "master", mark, "up")
                ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
                ip("-n", host.name, "link", "set", "eth0", "up")
                ip("-n", host.name, "link", "set", "lo", "up")
        except PermissionError as error:
            pytest.skip(f"needs to be allowed to make network namespaces ({error})")
        yield found
    finally:
        for host in found:
            subprocess.run(["ip", "netns", "delete", host.name], capture_output=True)
        subprocess.run(["ip", "link", "delete", mark], capture_output=True)


@pytest.fixture(scope="module")
def cluster(hosts: list[Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A head with tracking server on one host and a node on the other; the job server's address."""
    folder = tmp_path_factory.mktemp("cluster")
    head, node = hosts
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("MLFLOW_TRACKING_URI", f"http://{head.address}:5000")
    place = Path("/tmp") / f"icfh{os.getpid()}"  # Ray's sockets want a short path
    ray = [*RAY, "start", "--block"]
    ray += ["--num-cpus", "1", "--disable-usage-stats"]
    server = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        head.address,
        "--port",
        "5000",
        "--workers",
        "1",
        "--allowed-hosts",
        "*",
    ]
    server += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
    started = []
    try:
        started.append(head.start(*server))
        words = ["--head", "--node-ip-address", head.address, "--dashboard-host", head.address]
        started.append(head.start(*ray, *words, "--temp-dir", str(place)))
        address = f"http://{head.address}:8265"
        wait_until(lambda: answers_jobs(address), started[-1])
        started.append(node.start(*ray, "--address", f"{head.address}:6379", "--node-ip-address", node.address))
        wait_until(lambda: answers(f"http://{head.address}:5000/health"), started[0])
        yield address
    finally:
        for process in reversed(started):
            end(process)
        patch.undo()
        shutil.rmtree(place, ignore_errors=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its session."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, how)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            continue


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def answers_jobs(address: str) -> bool:
    try:
        submission.client(address).list_jobs()
    except (IcfaceError, RuntimeError, OSError):
        return False
    return True


def test_the_hosts_are_apart(hosts: list[Host]):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        words = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)"
        tried = hosts[0].start(sys.executable, "-c", words, "127.0.0.1", str(server.getsockname()[1]))
        assert tried.wait() != 0, "a host must not see what listens on this machine's loopback"


def test_from_clips_to_a_registered_model(
    cluster: str, sample_clips: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for name, person in (("single_face.mp4", "ann"), ("WolfgangLanger_Pexels.mp4", "bob")):
        target = tmp_path / f"clips/{person}/v/1.mp4"
        target.parent.mkdir(parents=True)
        shutil.copy(sample_clips[name], target)
    data, runs = tmp_path / "data", tmp_path / "runs"

    def submit(*words: str) -> str:
        status = main(["submit", *words, "--address", cluster])
        said = capsys.readouterr()
        assert status == 0, said.out + said.err
        assert '"status": "SUCCEEDED"' in said.out
        return said.out

    options = ["--size", "32", "--every", "4", "--val-fraction", "0", "--workers", "2", "--licence", "test licence"]
    submit("preprocess", str(tmp_path / "clips"), str(data), *options)
    small = ["--model.size", "32", "--model.width", "8", "--model.blocks", "1", "--model.discriminator-width", "8"]
    run = ["--name", "both", "--steps", "20", "--checkpoint-every", "10", "--log-every", "2", "--data.batch-size", "4"]
    output = submit(
        *("train", str(data), "--preset", "small", *small, *run),
        *("--workers", "2", "--storage", str(runs), "--register", "both"),
    )
    last = [facts for facts in map(progress, output.splitlines()) if facts][-1]
    assert (last["done"], last["workers"], last["nodes"]) == (20, 2, 2)
    assert_whole(runs / "both")
    assert load_bundle(runs / "both/bundle").config.licence == "test licence"
    output = submit("evaluate", "models:/both/1", str(data), "--json", str(tmp_path / "report.json"))
    assert "held_out" in json.loads((tmp_path / "report.json").read_text())["groups"]
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    version = client.get_model_version("both", "1")
    assert "icface.evaluation" in version.tags
    found = client.get_run(version.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics["train/generator/reconstruction"] > 0
