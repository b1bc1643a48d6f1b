"""`icface train --profile`: a trace of some steps, kept with the run."""

import tempfile
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

FOLDER = "profile"
"""Of the run's artifacts: `trace.json.gz`, for https://ui.perfetto.dev, and `operators.txt`."""
AFTER, WARM, TRACED = 10, 1, 3
"""Steps that are passed over, that warm the profiler up, and that are traced."""
ROWS = 60


class StepProfiler:
    """Traces a few steps of this process. Call `step` after each; what was traced goes to the run by itself."""

    def __init__(self, run_id: str, steps: int, gpu: bool) -> None:
        """`steps` is how many are still to be done: of a short training the last ones are traced."""
        self.run_id = run_id
        self.problem: str | None = None
        """Why the trace could not be kept."""
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
        wait = max(0, min(AFTER, steps - WARM - TRACED))
        self._by = "self_cuda_time_total" if gpu else "self_cpu_time_total"
        self._profile: profile | None = profile(
            activities=activities,
            schedule=schedule(wait=wait, warmup=WARM, active=TRACED, repeat=1),
            on_trace_ready=self._keep,
            record_shapes=True,
        )
        self._left = wait + WARM + TRACED
        self._profile.start()

    def step(self) -> None:
        """A step is done."""
        if self._profile is None:
            return
        self._profile.step()
        self._left -= 1
        if self._left <= 0:
            self.close()

    def close(self) -> None:
        """End it; what is traced by then is kept."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

    def _keep(self, traced: "profile") -> None:
        with tempfile.TemporaryDirectory(prefix="icface-profile-") as folder:
            trace = Path(folder) / "trace.json.gz"
            traced.export_chrome_trace(str(trace))
            table = traced.key_averages().table(sort_by=self._by, row_limit=ROWS)
            (Path(folder) / "operators.txt").write_text(f"torch {torch.__version__}, {TRACED} steps\n{table}\n")
            # Here, since every process of a training reads this module, and MLflow takes seconds to load.
            import mlflow
            from mlflow.exceptions import MlflowException

            try:
                mlflow.MlflowClient().log_artifacts(self.run_id, folder, FOLDER)
            except (MlflowException, OSError) as error:  # a trace is not worth a training
                self.problem = str(error)
