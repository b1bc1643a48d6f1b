"""A node is taken away while a training runs on three of a cluster's nodes: it goes on with two."""

from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from support.killed_trainings import assert_whole
from support.ray_nodes import patient

import orchestration
from orchestration.config import TrainJob
from orchestration.train.driver import train
from orchestration.train.progress import TrainingProgress
from pipelines.cluster import connect

pytestmark = pytest.mark.system
EVERY = 10


@pytest.fixture(scope="module")
def cluster(workplace: Path):
    from ray.cluster_utils import Cluster

    # Nodes may stall for half a minute beside other tests; one that is killed is noticed by its connection.
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 60}
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": quick}
    with patient():
        cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        with patient():
            cluster.add_node(num_cpus=1)
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes(timeout=300)
        yield cluster
    finally:
        cluster.shutdown()
        patch.undo()


def losses(run: str) -> dict[int, float]:
    history = mlflow.MlflowClient().get_metric_history(run, "train/generator/reconstruction")
    return {item.step: item.value for item in history}


def test_a_removed_node_costs_a_worker_and_no_run(cluster, small_dataset: Path, workplace: Path, tiny):
    config = tiny.merge({"steps": 100, "data": {"batch_size": 6}, "log_every": 5, "checkpoint_every": EVERY})
    job = TrainJob(dataset=str(small_dataset), training=config, workers="1-3", name="elastic")
    told: list[TrainingProgress] = []
    doomed = list(cluster.worker_nodes)[-1]

    def remove_a_node(progress: TrainingProgress) -> None:
        told.append(progress)
        if progress.checkpoint and doomed in cluster.worker_nodes:
            cluster.remove_node(doomed, allow_graceful=False)

    with connect(cluster.address, 3, packages=(orchestration,)):
        result = train(job, remove_a_node)
        assert doomed not in cluster.worker_nodes
        alone = train(replace(job, name="alone", workers=1))
    counts = [progress.workers for progress in told if progress.workers]
    assert counts[0] == 3 and counts[-1] == 2
    first, again = [progress.starts for progress in told if progress.starts][-1]
    assert first == 0
    assert again >= next(progress.checkpoint for progress in told if progress.checkpoint)
    assert_whole(workplace / "runs/elastic")
    # Three, two or one: the batches are the same, and the sums differ in their order.
    with_three, with_one = losses(result.run_id), losses(alone.run_id)
    assert with_three.keys() == with_one.keys()
    np.testing.assert_allclose([*with_three.values()], [*with_one.values()], rtol=0.05)
