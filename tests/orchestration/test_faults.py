"""What dies while a training runs, and the endpoint of a registered model. Real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
import torch

from icface.bundle import load_bundle

pytestmark = pytest.mark.system
STEPS = "60"


def command(data: Path, name: str, *more: str) -> list[str]:
    """A training that takes about half a minute and writes a checkpoint every five steps."""
    small = ["--model.size", "32", "--model.width", "8", "--model.blocks", "1", "--model.discriminator-width", "8"]
    run = ["--name", name, "--steps", STEPS, "--checkpoint-every", "5", "--data.batch", "4", "--workers", "2"]
    return [sys.executable, "-m", "orchestration", "train", str(data), "--preset", "small", *small, *run, *more]


def wait_for_checkpoint(folder: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not list(folder.glob("checkpoint_*/training.pt")):
        assert process.poll() is None, "the training ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def rank_processes(driver: int) -> list[int]:
    """Ray Train's workers among the descendants of the driver."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name in brackets may hold spaces; the parent is the second field after it.
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_text()
        except (OSError, ValueError):
            continue

    def descends(process: int) -> bool:
        while process in parents and process != driver:
            process = parents[process]
        return process == driver

    return [process for process, name in names.items() if "TrainWorker" in name and descends(process)]


@pytest.fixture(scope="module")
def undisturbed(small_dataset: Path, workplace: Path) -> dict[str, torch.Tensor]:
    subprocess.run(command(small_dataset, "undisturbed"), check=True, cwd=workplace, capture_output=True)
    return load_bundle(workplace / "runs/undisturbed/bundle").state_dict()


def assert_same(bundle: Path, weights: dict[str, torch.Tensor]) -> None:
    found = load_bundle(bundle).state_dict()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_killed_worker_costs_at_most_a_checkpoint_interval(small_dataset: Path, workplace: Path, undisturbed):
    process = subprocess.Popen(command(small_dataset, "worker"), cwd=workplace, stdout=subprocess.DEVNULL)
    wait_for_checkpoint(workplace / "runs/worker", process)
    ranks = rank_processes(process.pid)
    assert ranks
    os.kill(ranks[0], signal.SIGKILL)
    assert process.wait(timeout=400) == 0
    assert_same(workplace / "runs/worker/bundle", undisturbed)


def test_a_killed_driver_resumes_to_the_bit(small_dataset: Path, workplace: Path, undisturbed):
    process = subprocess.Popen(command(small_dataset, "driver"), cwd=workplace, start_new_session=True)
    wait_for_checkpoint(workplace / "runs/driver", process)
    # The driver's Ray lives in its own sessions and ends when its driver is gone.
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (workplace / "runs/driver/bundle").exists()
    run = mlflow.MlflowClient().search_runs(["1"], "attributes.run_name = 'driver'")[0]
    assert run.info.status == "RUNNING"  # what the dead driver could not mend
    done = subprocess.run(
        command(small_dataset, "driver", "--resume"), cwd=workplace, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert_same(workplace / "runs/driver/bundle", undisturbed)
    assert mlflow.MlflowClient().get_run(run.info.run_id).info.status == "FINISHED"


def test_ctrl_c_writes_a_checkpoint(small_dataset: Path, workplace: Path):
    # More steps than any machine does before the signal arrives.
    process = subprocess.Popen(
        command(small_dataset, "stopped", "--steps", "100000", "--checkpoint-every", "50000"),
        cwd=workplace,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if '"images_per_second"' in line:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "was stopped at step" in errors
    assert list((workplace / "runs/stopped").glob("checkpoint_*/training.pt"))
