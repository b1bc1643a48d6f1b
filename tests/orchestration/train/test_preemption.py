"""A node gets notice: the training leaves it with a checkpoint of its last step, and goes on elsewhere."""

import time
from pathlib import Path

import mlflow
import pytest
import ray
from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # type: ignore[attr-defined]
from support.killed_trainings import assert_whole, checkpoints
from support.ray_nodes import patient

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
    """A head on which nothing trains, and a node with room for one rank."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.5")
        with patient():
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            with patient():
                cluster.add_node(num_cpus=1)
            cluster.wait_for_nodes(timeout=300)
            yield cluster
        finally:
            cluster.shutdown()


def give_notice(node_id: str) -> None:
    """What `ray start --block` does when its pod or its machine is told to end, and `ray drain-node` by hand."""
    deadline = int(1000 * (time.time() + MINUTES * 60))
    gcs = ray.get_runtime_context().worker.gcs_client
    accepted, why_not = gcs.drain_node(node_id, DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION, "notice", deadline)
    assert accepted, why_not


def test_a_node_that_gets_notice_is_left_with_a_checkpoint(cluster, small_dataset: Path, workplace: Path, tiny):
    (doomed,) = cluster.worker_nodes
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
            give_notice(doomed.node_id)
        elif len(progress.starts) == 2 and (progress.step or 0) > progress.starts[1] and "stop" not in done:
            done.append("stop")
            raise KeyboardInterrupt

    with connect(cluster.address, 1, packages=(orchestration,)):
        result = train(job, follow)
    assert done == ["notice", "stop"]
    starts = told[-1].starts
    assert len(starts) == 2, "it was moved once, and not back to the node that goes"
    assert starts[0] == 0 and starts[1] >= 3
    folder = workplace / "runs/moved"
    assert checkpoints(folder) == [starts[1], result.steps]
    assert_whole(folder)
    notice = f"a node is about to be taken away: the training goes on from step {starts[1]}"
    assert any((progress.notice or "").startswith(notice) for progress in told)
    history = mlflow.MlflowClient().get_metric_history(result.run_id, "train/generator/reconstruction")
    assert sorted(item.step for item in history) == list(range(1, result.steps + 1)), "no step was lost or done twice"
