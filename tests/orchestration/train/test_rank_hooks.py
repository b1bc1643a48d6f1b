"""What a rank does beside training, around the real loop: a checkpoint that is lost ends the training."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.synthetic_pairs import synthetic_batch, tiny_config

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig
from icface.training.checkpoint import FILE, load_state
from icface.training.fit import TrainingData, fit
from orchestration.train import rank_hooks as module
from orchestration.train.background_writer import BackgroundWriter
from orchestration.train.checkpoint_store import Checkpoints
from orchestration.train.coordinator import start_coordinator
from orchestration.train.rank_hooks import StorageFailed, hooks_of
from pipelines.storage import Folder

pytestmark = pytest.mark.usefixtures("ray_here")


class Log:
    """In place of a `RunLogger`."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.names |= values.keys()

    def picture(self, step: int, picture: object, name: str) -> None: ...


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A rank alone, outside Ray Train, whose second checkpoint, of step 4, cannot be written."""
    monkeypatch.setattr(module, "ranks_to_go", list)
    checkpoints = Checkpoints(Folder.at(tmp_path))
    plainly = checkpoints.write

    def write(step: int, save) -> None:
        def fail(folder: Path) -> None:
            (folder / FILE).write_bytes(b"half")
            raise OSError("the store is away")

        plainly(step, fail if step == 4 else save)

    checkpoints.write = write
    config = tiny_config(steps=10**6, checkpoint_every=2, images_every=10**6)
    job = SimpleNamespace(coordinator=start_coordinator(), config=config, profile=False, gpu=False, mlflow_run_id="")
    writer = BackgroundWriter(checkpoints, lambda step: None)
    return SimpleNamespace(config=config, job=job, checkpoints=checkpoints, writer=writer, folder=tmp_path, steps=0)


def test_a_checkpoint_that_is_lost_ends_the_training_and_costs_none_before(setting: SimpleNamespace):
    log = Log()
    hooks = hooks_of(setting.job, setting.checkpoints, setting.writer, log, torch.device("cpu"))

    def batches() -> Iterator[object]:
        while True:
            setting.steps += 1
            yield synthetic_batch(setting.steps)

    config = setting.config
    data = TrainingData(batches=batches(), identities=3, deviations=np.full(20, 0.2, np.float32))
    bundle = BundleConfig(model=config.model, schema=AttributeSchema.default())
    told = r"the checkpoint of step 4 cannot be written .*the store is away.*the one of step 2 is whole"
    with pytest.raises(StorageFailed, match=told):
        fit(config, bundle, data, hooks=hooks)
    assert setting.steps < 10**6
    phases = ("reading_a_batch", "training", "writing_a_checkpoint")
    assert {"train/tflops", *(f"train/seconds_a_step/{phase}" for phase in phases)} <= log.names
    assert setting.writer.wait() is None, "it was told"
    assert setting.checkpoints.steps() == [2]
    assert load_state(setting.folder / "checkpoint_00000002")["steps_done"] == 2
