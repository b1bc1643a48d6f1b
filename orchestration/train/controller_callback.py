"""What Ray Train's controller does for us when it starts."""

from typing import Any

import ray
from ray.train.v2._internal.execution.callback import ControllerCallback


class TellController(ControllerCallback):
    """Has Ray Train's controller give its handle to the coordinator: nobody else is told of that actor."""

    def __init__(self, coordinator: Any) -> None:
        self.coordinator = coordinator

    def after_controller_start(self, train_run_context: Any) -> None:
        """Tell the coordinator which actor controls the run; Ray Train calls it."""
        self.coordinator.controlled_by.remote(ray.get_runtime_context().current_actor)
