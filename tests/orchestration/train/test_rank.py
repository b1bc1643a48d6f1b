"""What the processes of a training load: each waits for it, and on a CPU they share the cores."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "needed", "spared"),
    [
        # Ray's controller and every rank read it; MLflow takes seconds to load, and the first rank alone logs.
        ("orchestration.train.rank", "torch", "mlflow"),
        ("orchestration.train.coordinator", "ray", "ray.train"),
    ],
)
def test_no_process_of_a_training_loads_what_it_does_not_need(module: str, needed: str, spared: str):
    program = f"import sys, {module}; print({needed!r} in sys.modules, {spared!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True False"), done.stderr
