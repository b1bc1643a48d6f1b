"""What the machine does while it trains, as MLflow's own collectors see it: the "System metrics" of a run's page."""

import time
from typing import Any

SECONDS = 10.0
"""Least time between two samples."""


class SystemMetrics:
    """CPU, memory, disk, network and, where NVIDIA's library is there, GPUs of this node."""

    def __init__(self) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        self._monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        try:
            from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

            self._monitors.append(GPUMonitor())
        except Exception:  # no library, no driver, no GPU: each raises something of its own
            pass
        for monitor in self._monitors:  # the first look at the CPU only begins the interval of the next one
            monitor.collect_metrics()
            monitor.clear_metrics()
        self._last = 0.0

    def sample(self) -> dict[str, float]:
        """The figures since the last sample by their names in MLflow; none where that was a moment ago."""
        now = time.monotonic()
        if now - self._last < SECONDS:
            return {}
        self._last = now
        found: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            found |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return {f"system/{name}": float(value) for name, value in found.items()}
