import subprocess
import sys


def test_a_process_of_a_training_loads_mlflow_only_where_it_logs():
    # Ray's controller and every rank read this module; MLflow takes seconds to load, and the first rank alone logs.
    program = "import sys, orchestration.train.rank; assert 'torch' in sys.modules; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
