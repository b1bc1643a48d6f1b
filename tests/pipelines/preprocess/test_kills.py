"""SIGKILL of workers, nodes and drivers at random moments: after the restart the data set is the undisturbed one."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.clip_faults import contents
from support.datasets import build_dataset
from support.ray_nodes import patient
from support.soak import chosen, part

from benchmarks.process_tree import descendants, is_running

CLIPS = 8
KINDS = ("worker", "node", "driver")
STATED = 600.0
"""Seconds in which something must happen, however busy the machine is."""


def command(folder: Path, data: str) -> list[str]:
    options = ["--size", "32", "--every", "6", "--shard-clips", "1", "--val-fraction", "0", "--workers", "2"]
    return [sys.executable, "-m", "orchestration", "preprocess", str(folder / "clips"), str(folder / data), *options]


@pytest.fixture(scope="module")
def crowded(sample_clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of four people, one of them damaged, and the data set `undisturbed` made of them."""
    folder = tmp_path_factory.mktemp("kills")
    for number in range(CLIPS):
        place = folder / f"clips/p{number % 4}/v/{number}.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(sample_clips["single_face.mp4"])
    place.unlink()
    place.write_bytes(sample_clips["single_face.mp4"].read_bytes()[:100_000])
    build_dataset(options(folder, "undisturbed"))
    return folder


def workers(root: int) -> list[int]:
    """The actors that write shards, and the processes that read clips for them."""
    return [p for p, name in descendants(root).items() if "ShardActor" in name or "clip_process" in name]


def wait_until(true: Callable[[], object], ended: Callable[[], object]) -> bool:
    """Wait for `true`; False when `ended` came first."""
    deadline = time.monotonic() + STATED
    while not true():
        if ended():
            return False
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return True


def finished_shards(data: Path) -> int:
    return len(list((data / "clips").glob("*.parquet")))


def run_driver_or_worker(kind: str, folder: Path, data: str, random: np.random.Generator) -> int:
    """Run the job with kills; how many there were. A killed driver is started again once."""
    kills = 0
    process = subprocess.Popen(command(folder, data), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for _ in range(1 if kind == "driver" else 3):
        enough = int(random.integers(0, CLIPS - 1))
        if not wait_until(
            lambda n=enough: finished_shards(folder / data) >= n and workers(process.pid),
            lambda: process.poll() is not None,
        ):
            break
        time.sleep(random.uniform(0, 1.5))
        victim = process.pid if kind == "driver" else int(random.choice(workers(process.pid) or [0]))
        if victim and process.poll() is None:
            below = list(descendants(process.pid)) if kind == "driver" else []
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills += 1
            # What a dead driver leaves ends by itself; two jobs must not write one data set.
            if below:
                process.wait()
                wait_until(lambda pids=below: not any(map(is_running, pids)), lambda: False)
    _, errors = process.communicate(timeout=STATED)
    if process.returncode != 0:
        assert kind == "driver" or "run the same command again" in errors, errors
        subprocess.run(command(folder, data), check=True, capture_output=True)
    return kills


def run_node(folder: Path, data: str, random: np.random.Generator) -> int:
    """Run the job on a cluster of a head without cores and two nodes, one of which is killed."""
    import ray
    from ray.cluster_utils import Cluster

    from icface.errors import IcfaceError
    from pipelines.preprocess.job import preprocess

    with patient():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    kills = []
    ended = threading.Event()

    def kill() -> None:
        enough = int(random.integers(0, CLIPS - 1))
        if wait_until(lambda: finished_shards(folder / data) >= enough, ended.is_set):
            ended.wait(random.uniform(0, 1.5))
            victim = nodes[int(random.integers(0, 2))]
            cluster.remove_node(victim, allow_graceful=False)
            kills.append(victim)

    killer = threading.Thread(target=kill)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        killer.start()
        try:
            preprocess(options(folder, data))
        except IcfaceError as error:
            assert "run the same command again" in str(error)
        ended.set()
        killer.join()
        preprocess(options(folder, data))
    finally:
        ended.set()
        killer.join()
        ray.shutdown()
        cluster.shutdown()
    return len(kills)


def options(folder: Path, data: str):
    from support.datasets import flat_config

    return flat_config(
        source=str(folder / "clips"),
        dataset=str(folder / data),
        size=32,
        every=6,
        shard_clips=1,
        val_fraction=0.0,
        workers=2,
    )


def disturbed(kind: str, seed: int, folder: Path) -> int:
    random = np.random.default_rng(seed)
    data = f"{kind}-{seed}"
    kills = run_node(folder, data, random) if kind == "node" else run_driver_or_worker(kind, folder, data, random)
    assert contents(folder / data) == contents(folder / "undisturbed")
    shutil.rmtree(folder / data)
    return kills


@pytest.mark.system
@pytest.mark.parametrize("kind", KINDS)
def test_one_kill_of_each(kind: str, crowded: Path):
    # A run that was over before its moment shows nothing: another moment is tried.
    assert any(disturbed(kind, seed, crowded) for seed in range(5))


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", chosen(100))
def test_a_hundred_kills(seed: int, crowded: Path):
    with part("kills", seed) as found:
        found["kind"] = KINDS[seed % 3]
        found["kills"] = disturbed(KINDS[seed % 3], seed, crowded)
        assert found["kills"] or found["kind"] != "driver"


@pytest.mark.system
def test_work_is_seen_on_each_of_two_nodes(crowded: Path, monkeypatch: pytest.MonkeyPatch):
    """Each node has one core, so that one alone would do half as much at a time."""
    import ray.data
    from ray.cluster_utils import Cluster

    from pipelines.preprocess.job import preprocess

    with patient():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    told = []
    # A node whose process starts late would find all done by the other's.
    monkeypatch.setattr(ray.data.DataContext.get_current(), "wait_for_min_actors_s", round(STATED))
    try:
        with patient():
            for _ in range(2):
                cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        preprocess(options(crowded, "nodes"), told.append)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert max(progress.nodes for progress in told) == 2
    assert contents(crowded / "nodes") == contents(crowded / "undisturbed")


@pytest.mark.system
def test_ctrl_c_ends_with_one_line_that_says_how_to_go_on(crowded: Path):
    process = subprocess.Popen(
        command(crowded, "stopped"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert wait_until(lambda: finished_shards(crowded / "stopped"), lambda: process.poll() is not None)
    # As a terminal does: to all of the group.
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=STATED)
    assert process.returncode == 1
    # Ray's C++ parts may have written a line of their own before.
    assert (
        errors.splitlines()[-1] == "icface: stopped; what is finished is kept, and the same command goes on from there"
    )
    assert "Traceback" not in errors
    assert finished_shards(crowded / "stopped") < CLIPS
    subprocess.run(command(crowded, "stopped"), check=True, capture_output=True)
    assert contents(crowded / "stopped") == contents(crowded / "undisturbed")
