"""The training loop: batches in, a model out, in one process or on every rank of torch.distributed."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig, ICface
from icface.errors import IcfaceError
from icface.networks.features import perceptual_distance
from icface.pixels import to_bytes
from icface.training.batch import Batch, DeviceBatch
from icface.training.checkpoint import HostCopy, Save, load_state
from icface.training.config import TrainConfig
from icface.training.critic import Critic
from icface.training.distributed import any_rank, world
from icface.training.ema import estimate_batch_norms
from icface.training.operations import OperationCounter
from icface.training.prefetch import prefetched
from icface.training.step_rate import StepRate
from icface.training.trainer import Metrics, prepare
from icface.training.validation import RealFrames, validate

EDITS = ("pose_yaw", "AU01", "AU12", "AU25", "AU26", "AU45")
"""Attributes of `edit_grid`, as far as they were trained."""


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What a training tells whoever runs it. All are called on every rank, between two steps."""

    on_log: Callable[[int, Metrics], None] = _ignore
    """(steps done, metrics): losses averaged since the last call; `images_per_second` and `seconds_left` at the pace
    of the last minute. `tflops` is trillions of operations a second of all ranks, since the last call."""
    on_images: Callable[[int, npt.NDArray[np.uint8]], None] = _ignore
    """(steps done, sample grid (H, W, 3) uint8 RGB): see `sample_grid`."""
    on_edits: Callable[[int, npt.NDArray[np.uint8], tuple[str, ...]], None] = _ignore
    """(steps done, grid (H, W, 3) uint8 RGB, what each of its columns shows): see `edit_grid`."""
    on_step: Callable[[int, ICface], None] = _ignore
    """(steps done, averaged model): after each step. The model learns on: whoever keeps it copies it."""
    on_checkpoint: Callable[[int, Callable[[], Save]], None] = _ignore
    """(steps done, copied): `copied()` copies the state of the training into the machine's memory and returns `save`.
    `save(folder)` writes the copy, at once or while the training goes on. One copy at a time: the next `copied()`
    takes the place of the last."""
    on_phase: Callable[[str, int], None] = _ignore
    """(what is begun now, step): for whoever wants to know in what a training hangs."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked after each step; a yes on any rank writes a checkpoint and ends the training on all."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What one rank trains on."""

    batches: Iterable[Batch]
    """This rank's slice of each step's batch, beginning with the first step not yet done."""
    identities: int
    """Number of training identities."""
    deviations: npt.NDArray[np.float32]
    """(n,) standard deviation of each coded attribute over the training frames."""
    validation: RealFrames | None = None
    """Real frames that are not trained on, the same on every rank, looked at every `validate_every` steps. With them
    an attribute that D does not read yet teaches no generator (`loss.readable_from`)."""
    calibration: Iterable[Batch] = ()
    """This rank's slices of some batches, on which the batch norms of the averaged weights are estimated again at the
    end. A model without batch norms needs none."""


def fit(
    config: TrainConfig,
    bundle_config: BundleConfig,
    data: TrainingData,
    *,
    hooks: Hooks | None = None,
    device: torch.device | str = "cpu",
    resume: Path | None = None,
    init: ICface | None = None,
    critic: Critic | None = None,
) -> ICface:
    """Train and return the model with the averaged weights, on the CPU in eval mode.

    Args:
        config: the training.
        bundle_config: what the model's bundle will say of itself; its `model` and `schema` are built.
        data: what this rank trains on.
        hooks: called as the training goes.
        device: where to train.
        resume: folder of a checkpoint to go on from.
        init: a model whose weights the training begins with; see `icface.training.init_from`.
        critic: reads the outputs, for `loss.critic` (`icface.training.critic.make_critic`); None leaves its terms out.

    Raises:
        NonFiniteLoss: a loss term is infinite or not a number.
        IcfaceError: the batches end before the steps do, the checkpoint is of another model, or the weights of
            `loss.perceptual` cannot be had.
    """
    hooks = hooks or Hooks()
    perceptual = None
    if config.loss.perceptual:
        perceptual = perceptual_distance(config.loss.perceptual_network, config.loss.perceptual_weights)
    training = prepare(
        config, bundle_config, data.identities, data.deviations, torch.device(device), perceptual, init, critic
    )
    validation = data.validation.to(training.device) if data.validation is not None else None
    if validation is not None:
        training.networks.losses.attribute_mask.fill_(float(config.loss.readable_from == 0))
    if resume is not None:
        training.load(load_state(resume))
    sample: DeviceBatch | None = None
    saved = time.monotonic()
    rate = StepRate(training.steps_done, saved)
    if torch.device(device).type == "cuda" or training.config.compile == "never":
        # Elsewhere a step that is not compiled would round another way, and a resumed training end with other weights.
        training.operations = OperationCounter(saved)
    copy = HostCopy()
    iterator = prefetched(data.batches, training.device)
    stopping = False
    # Asking the other ranks makes the host wait for the device.
    ask_every = 1 if training.check is None else training.check.LAG
    while training.steps_done < config.steps:
        hooks.on_phase("reading a batch", training.steps_done + 1)
        batch = next(iterator, None)
        if batch is None:
            raise IcfaceError(f"the data ended after {training.steps_done} of {config.steps} steps")
        if sample is None:
            sample = batch.to(training.device)
        hooks.on_phase("training", training.steps_done + 1)
        training.step(batch)
        done = training.steps_done
        last = done == config.steps
        stopping = stopping or hooks.should_stop()
        stop = late = False
        if last or done % ask_every == 0:
            late = time.monotonic() - saved > 60 * config.checkpoint_minutes
            stop, late = any_rank(stopping, late, device=training.device)
        if done % config.log_every == 0 or last:
            now = time.monotonic()
            seconds = rate.update(done, now)
            metrics = training.metrics()
            if training.operations is not None:
                metrics["tflops"] = training.operations.rate(now) * world()[1] / 1e12
            metrics["images_per_second"] = len(batch) * world()[1] / seconds
            metrics["seconds_left"] = seconds * (config.steps - done)
            hooks.on_log(done, metrics)
        if validation is not None and (done % config.validate_every == 0 or last):
            hooks.on_phase("validating", done)
            found = validate(training.average.model, training.discriminator, validation)
            training.networks.losses.attribute_mask.copy_(found.reliable_attributes(config.loss.readable_from))
            hooks.on_log(done, found.metrics(bundle_config.schema))
        if done % config.images_every == 0 or last:
            hooks.on_phase("making sample pictures", done)
            hooks.on_images(done, sample_grid(training.average.model, sample))
            hooks.on_edits(done, *edit_grid(training.average.model, sample))
        hooks.on_step(done, training.average.model)
        if done % config.checkpoint_every == 0 or last or stop or late:
            hooks.on_phase("writing a checkpoint", done)
            training.settle()
            hooks.on_checkpoint(done, lambda: copy.take(training.state()))
            saved = time.monotonic()
        if stop:
            break
    estimate_batch_norms(training.average.model, data.calibration, training.device)
    return training.average.model.cpu().eval()


@torch.no_grad()
def sample_grid(model: ICface, batch: DeviceBatch, rows: int = 6) -> npt.NDArray[np.uint8]:
    """Up to `rows` rows of source, neutral, animated, driving: (rows * S, 4 * S, 3) uint8 RGB."""
    source, driving = batch.source[:rows], batch.driving[:rows]
    neutral = model.neutralise(source, batch.source_encoded[:rows])
    animated = model.generator(neutral, batch.driving_encoded[:rows])
    return _grid(torch.stack([source, neutral[:, :3], animated, driving], dim=1))


@torch.no_grad()
def edit_grid(model: ICface, batch: DeviceBatch, rows: int = 3) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Up to `rows` rows of the neutral face and single attributes set to the 99th percentile of what was seen.

    Returns the grid (rows * S, columns * S, 3) uint8 RGB, and the names of its columns.
    """
    source = batch.source[:rows]
    neutral = model.neutralise(source, batch.source_encoded[:rows])
    resting = torch.as_tensor(model.schema.neutral_encoded(), device=source.device)
    pictures, names = [neutral[:, :3]], ["neutral"]
    for attribute in (model.schema.attributes[model.schema.index(name)] for name in _edits(model.schema)):
        if not attribute.trained or attribute.seen is None:
            continue
        encoded = resting.clone()
        share = (attribute.seen.p99 - attribute.low) / (attribute.high - attribute.low)
        encoded[model.schema.index(attribute.name)] = min(max(share, 0.0), 1.0)
        pictures.append(model.generator(neutral, encoded.expand(len(source), -1)))
        names.append(attribute.name)
    return _grid(torch.stack(pictures, dim=1)), tuple(names)


def _edits(schema: AttributeSchema) -> list[str]:
    """`EDITS` by the schema's names: of an action unit with sides the person's left one, which is enough to see."""
    return [found[0] for name in EDITS if (found := schema.meant_by(name))]


def _grid(pictures: Tensor) -> npt.NDArray[np.uint8]:
    """Pictures (R, C, 3, S, S) in [-1, 1] beside and below each other: (R * S, C * S, 3) uint8 RGB."""
    count, columns, _, height, width = pictures.shape
    grid = pictures.permute(0, 3, 1, 4, 2).reshape(count * height, columns * width, 3)
    return to_bytes(grid).cpu().numpy()
