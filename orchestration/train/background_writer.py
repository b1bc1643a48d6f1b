"""Checkpoints written by a thread of their own, so that a training's steps go on meanwhile."""

import threading
from collections.abc import Callable

from icface.errors import IcfaceError, first_line
from icface.training.checkpoint import Save
from orchestration.train.checkpoint_store import Checkpoints


class BackgroundWriter:
    """Writes checkpoints one at a time, each while the training goes on.

    `on_written` is told the step of each that is whole, from the thread that wrote it.
    """

    def __init__(self, checkpoints: Checkpoints, on_written: Callable[[int], None]) -> None:
        self._checkpoints, self._on_written = checkpoints, on_written
        self._thread: threading.Thread | None = None
        self._problem: IcfaceError | None = None

    @property
    def has_failed(self) -> bool:
        """Whether a checkpoint is known to be lost; `wait` says why."""
        return self._problem is not None

    def begin(self, step: int, save: Save) -> None:
        """Have `save` write the checkpoint of `step`. `wait` has to be called before."""
        self._thread = threading.Thread(target=self._write, args=(step, save), name="icface-checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> IcfaceError | None:
        """Wait until nothing is being written; why a checkpoint could not be written, if one could not. Said once."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        problem, self._problem = self._problem, None
        return problem

    def _write(self, step: int, save: Save) -> None:
        try:
            self._checkpoints.write(step, save)
            self._on_written(step)
        except IcfaceError as error:
            self._problem = error
        except Exception as error:  # an error that a thread swallows would leave a training without checkpoints
            self._problem = IcfaceError(f"the checkpoint of step {step} cannot be written: {first_line(error)}")
