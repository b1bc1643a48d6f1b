"""What dies, fills up or falls silent while a training runs: real processes, a real server, a real full disk."""

import os
import re
import signal
import subprocess
from pathlib import Path

import mlflow
import pytest
import torch
from support.killed_trainings import (
    EVERY,
    STEPS,
    TrackingServer,
    assert_same,
    assert_whole,
    bundle_weights,
    checkpoints,
    command,
    no_room,
    progress,
    rank_processes,
    start,
    wait_until,
)

from benchmarks.process_tree import descendants, is_running
from icface.bundle import load_bundle
from orchestration.__main__ import main
from orchestration.registry.run_models import bundle_at, bundle_steps
from orchestration.train.validation_record import ValidationRecord
from pipelines.storage import Folder

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def undisturbed(small_dataset: Path, workplace: Path) -> dict[str, torch.Tensor]:
    done = subprocess.run(
        command(small_dataset, "undisturbed"), cwd=workplace, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return bundle_weights(workplace / "runs/undisturbed")


def run_of(name: str) -> mlflow.entities.Run:
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("icface").experiment_id
    return client.search_runs([experiment], f"attributes.run_name = '{name}'")[0]


def resume(data: Path, name: str, workplace: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = command(data, name, *more, "--resume")
    return subprocess.run(words, cwd=workplace, capture_output=True, text=True, check=False)


def test_a_killed_worker_costs_at_most_a_checkpoint_interval(small_dataset: Path, workplace: Path, undisturbed):
    process = start(command(small_dataset, "worker"), workplace)
    folder = workplace / "runs/worker"
    wait_until(lambda: checkpoints(folder), process)
    ranks = rank_processes(process.pid)
    assert ranks
    before = checkpoints(folder)[-1]
    os.kill(ranks[0], signal.SIGKILL)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    went_on = re.search(r"from the checkpoint of step (\d+)", output)
    assert went_on and int(went_on[1]) >= before, output
    assert_same(folder, undisturbed)
    assert_whole(folder)


def test_a_killed_driver_resumes_to_the_bit(small_dataset: Path, workplace: Path, undisturbed, capsys):
    process = start(command(small_dataset, "driver"), workplace)
    folder = workplace / "runs/driver"
    wait_until(lambda: checkpoints(folder), process)
    below = descendants(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    # The driver's Ray lives in its own sessions and ends when its driver is gone. Until then ranks may go on.
    wait_until(lambda: not any(map(is_running, below)))
    assert not (folder / "bundle").exists()
    assert_whole(folder)
    run = run_of("driver")
    assert run.info.status == "RUNNING"  # what the dead driver could not mend
    assert main(["models", "list"]) == 0  # and the next command does
    capsys.readouterr()
    assert run_of("driver").info.status == "KILLED"
    done = resume(small_dataset, "driver", workplace)
    assert done.returncode == 0, done.stderr
    assert_same(folder, undisturbed)
    assert run_of("driver").info.run_id == run.info.run_id
    assert run_of("driver").info.status == "FINISHED"


# SIGTERM in the middle of an evaluation is the next test.
@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)])
def test_ctrl_c_writes_a_checkpoint(small_dataset: Path, workplace: Path, how: signal.Signals):
    # More steps than any machine does before the signal arrives.
    name = f"stopped-{how.name}"
    process = start(command(small_dataset, name, "--checkpoint-every", "50000", steps=100000), workplace)
    for line in process.stdout:
        if (facts := progress(line)) and "images_per_second" in facts:
            break
    assert {"done", "total", "A/reconstruction", "seconds_left", "workers"} <= facts.keys()
    process.send_signal(how)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "was stopped at step" in errors and errors.count("\n") == 1
    assert len(checkpoints(workplace / "runs" / name)) == 1
    assert_whole(workplace / "runs" / name)
    assert run_of(name).info.status == "KILLED"


def test_sigterm_in_the_middle_of_an_evaluation_beside_the_training(small_dataset: Path, workplace: Path):
    words = ["--checkpoint-every", "50000", "--evaluate-every", "2", "--keep", "best:face_l1"]
    process = start(command(small_dataset, "watched", *words, steps=100000), workplace)

    def evaluators() -> list[str]:
        return [name for name in descendants(process.pid).values() if "Evaluator" in name]

    wait_until(lambda: any("evaluate" in name for name in evaluators()), process)  # Ray names what an actor is doing
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "was stopped at step" in errors and errors.count("\n") == 1, errors
    folder = workplace / "runs/watched"
    step = checkpoints(folder)[-1]
    assert_whole(folder)
    assert run_of("watched").info.status == "KILLED"
    assert not (folder / "bundle").exists()
    # What was found is whole, and so are the models that are kept, or wait for the training to go on.
    record = ValidationRecord.read(Folder.at(str(folder)))
    left = bundle_steps(Folder.at(str(folder)))
    assert {record.kept} - {None} <= set(left)
    assert all(each <= step for each in (record.last, *left))
    assert all(load_bundle(folder / bundle_at(each)).config.training["steps"] == each for each in left)


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system with room for four checkpoints of 28 MB: two are kept, one is written."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs to be allowed to mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_storage_is_one_line_and_resumes_when_there_is_room(
    small_dataset: Path, workplace: Path, undisturbed, small_disk: Path
):
    words = ["--storage", str(small_disk)]
    process = start(command(small_dataset, "full", *words), workplace)
    wait_until(lambda: checkpoints(small_disk / "full"), process)
    with no_room(small_disk):
        _, errors = process.communicate()
    assert process.returncode == 1
    assert "the storage is full" in errors and "make room" in errors
    assert errors.count("\n") == 1, errors
    kept = checkpoints(small_disk / "full")
    assert kept and f"the one of step {kept[-1]} is whole" in errors
    assert_whole(small_disk / "full")
    assert run_of("full").info.status == "FAILED"
    done = resume(small_dataset, "full", workplace, *words)
    assert done.returncode == 0, done.stderr
    assert_same(small_disk / "full", undisturbed)


def test_a_tracking_server_that_goes_and_comes_back_gets_everything(
    small_dataset: Path, workplace: Path, undisturbed, tmp_path: Path
):
    server = TrackingServer(tmp_path / "server")
    folder = workplace / "runs/silence"
    server.start()
    try:
        process = start(command(small_dataset, "silence"), workplace, {"MLFLOW_TRACKING_URI": server.uri})
        wait_until(lambda: checkpoints(folder), process)
        server.end()
        gone_at = checkpoints(folder)[-1]
        wait_until(lambda: checkpoints(folder)[-1] >= gone_at + 3 * EVERY or (folder / "bundle").exists(), process)
        server.start()
        output, errors = process.communicate()
        output += errors
        recorded = process.returncode == 0
        if not recorded:  # the training was over before the server was back
            assert "the training is done and its bundle is" in errors and errors.count("\n") == 1, errors
            words = [*command(small_dataset, "silence"), "--resume"]
            again = start(words, workplace, {"MLFLOW_TRACKING_URI": server.uri})
            _, errors = again.communicate()
            assert again.returncode == 0, errors
        assert_same(folder, undisturbed)
        client = mlflow.MlflowClient(server.uri)
        experiment = client.get_experiment_by_name("icface").experiment_id
        (run,) = client.search_runs([experiment])
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "train/generator/reconstruction")
        assert sorted({item.step for item in history}) == list(range(5, STEPS + 1, 5))
        kept = {item.path for item in client.list_artifacts(run.info.run_id)}
        # A server that comes back late finds the numbers kept, and the pictures not.
        assert kept >= ({"bundle"} if "sample pictures" in output or not recorded else {"bundle", "images"})
        assert not (folder / "unsent.jsonl").exists()
    finally:
        server.end()
