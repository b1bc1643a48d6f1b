"""A node gets notice: the training leaves it with a checkpoint of its last step, and goes on elsewhere."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import ray
from support.killed_trainings import assert_whole, checkpoints
from support.ray_nodes import RAY, patient

import orchestration
from orchestration.config import TrainJob
from orchestration.train.driver import train
from orchestration.train.progress import TrainingProgress
from pipelines.cluster import connect

MINUTES = 20
"""Until the node is taken away; no machine is so slow."""
pytestmark = pytest.mark.system


@pytest.fixture
def cluster():
    """A head on which nothing trains."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.5")
        with patient():
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture
def node(cluster, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A node with room for one rank, as `ray start --block` makes it on a machine or in a pod."""
    command = [*RAY, "start", "--address", cluster.address, "--num-cpus", "1", "--block", "--disable-usage-stats"]
    patience = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(MINUTES * 60)}
    with (tmp_path / "node.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **patience}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def nodes_with_room() -> list[str]:
    """Ids of the nodes on which a rank can be."""
    return [each["NodeID"] for each in ray.nodes() if each["Alive"] and each["Resources"].get("CPU")]


def test_a_node_that_gets_notice_is_left_with_a_checkpoint(
    cluster, node: subprocess.Popen[bytes], small_dataset: Path, workplace: Path, tiny
):
    # More steps than any machine does before the notice arrives, and no checkpoint but that of the notice.
    often = {"steps": 10**5, "log_every": 1, "checkpoint_every": 10**5, "checkpoint_minutes": 10**4}
    rarely = {"images_every": 10**5, "validate_every": 10**5}
    job = TrainJob(dataset=str(small_dataset), training=tiny.merge(often | rarely), workers="1", name="moved")
    told: list[TrainingProgress] = []
    done: list[str] = []

    def follow(progress: TrainingProgress) -> None:
        told.append(progress)
        if not done and (progress.step or 0) >= 3:
            done.append("notice")
            with patient():
                cluster.add_node(num_cpus=1)
            node.send_signal(signal.SIGTERM)  # Ray asks for the drain that `ray drain-node` asks for
        elif len(progress.starts) == 2 and (progress.step or 0) > progress.starts[1] and "stop" not in done:
            done.append("stop")
            raise KeyboardInterrupt

    with connect(cluster.address, 1, packages=(orchestration,)):
        while not nodes_with_room():
            assert node.poll() is None, "the node did not start"
            time.sleep(0.5)
        result = train(job, follow)
    assert done == ["notice", "stop"]
    starts = told[-1].starts
    assert len(starts) == 2, "it was moved once, and not back to the node that goes"
    assert starts[0] == 0 and starts[1] >= 3
    folder = workplace / "runs" / job.name
    assert checkpoints(folder) == [starts[1], result.steps]
    assert_whole(folder)
    notice = f"a node is about to be taken away: the training goes on from step {starts[1]}"
    assert any((progress.notice or "").startswith(notice) for progress in told)
    history = mlflow.MlflowClient().get_metric_history(result.run_id, "train/generator/reconstruction")
    assert sorted(item.step for item in history) == list(range(1, result.steps + 1)), "no step was lost or done twice"
    assert node.wait(timeout=MINUTES * 60), "Ray ends a node that is idle, with status 1"
