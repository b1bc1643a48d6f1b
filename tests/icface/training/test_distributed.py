"""Several ranks with a slice of the batch each do what one rank does with all of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from support.ranks import on_ranks
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training

from icface.training.config import TrainConfig
from icface.training.distributed import any_rank, average_statistics
from icface.training.finite import NonFiniteLoss

STEPS = 20
BATCH = 16
SMALL = {
    "steps": STEPS,
    "model": {"size": 32, "width": 8, "blocks": 1, "discriminator_width": 8},
    "data": {"batch_size": BATCH},
    "precision": "float32",  # bf16 rounds a slice's gradients before they are averaged
}


def losses_and_gradients(config: TrainConfig, rank: int, ranks: int, steps: int):
    """Losses of each step, the first step's gradients of every network after the all-reduce, and how many there were.

    The last of each network's phases in a step leaves its gradients behind.
    """
    training = tiny_training(config)
    share = BATCH // ranks
    logs, gradients, big = [], {}, []
    reduce = dist.all_reduce

    def counted(tensor, *arguments, **named):
        if tensor.numel() > 1000:
            big.append(tensor.numel())
        return reduce(tensor, *arguments, **named)

    dist.all_reduce = counted
    try:
        for step in range(steps):
            training.step(synthetic_batch(step, share, rank * share))
            logs.append(training.metrics())
            if step == 0:
                for name, network in training.networks.learners.items():
                    gradients |= {
                        f"{name}.{k}": p.grad.clone() for k, p in network.named_parameters() if p.grad is not None
                    }
    finally:
        dist.all_reduce = reduce
    return logs, gradients, len(big)


def compare(rank: int, ranks: int, config: TrainConfig, steps: int, folder: Path) -> None:
    torch.save(losses_and_gradients(config, rank, ranks, steps), folder / f"{rank}.pt")


@pytest.mark.parametrize(
    ("ranks", "accumulate", "r1_interval", "steps"), [(2, 1, 1, STEPS), (2, 1, 8, STEPS), (4, 2, 2, 4)]
)
def test_ranks_equal_one_with_the_whole_batch(
    tmp_path: Path, ranks: int, accumulate: int, r1_interval: int, steps: int
):
    """Also where each rank takes its slice in parts: their gradients are exchanged once, after the last part."""
    config = TrainConfig.preset("icface").merge(SMALL).merge({"loss": {"r1_interval": r1_interval}})
    assert config.model.dropout == 0
    on_ranks(ranks, compare, config.merge({"accumulate": accumulate}), steps, tmp_path)
    alone_losses, alone_gradients, _ = losses_and_gradients(config, 0, 1, steps)
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(ranks)]
    for losses, gradients, reduced in results:
        assert gradients.keys() == alone_gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, alone_gradients[name], atol=1e-5, rtol=1e-4, msg=name)
        for step in range(steps):
            assert losses[step].keys() == alone_losses[step].keys()
            assert ("D/R1" in losses[step]) == (step % r1_interval == 0)
            for name, value in losses[step].items():
                np.testing.assert_allclose(value, alone_losses[step][name], atol=1e-3, rtol=1e-2, err_msg=name)
        # One gradient all-reduce a phase: G and D each step, R1 when it is due.
        assert reduced == 2 * steps + -(-steps // r1_interval)
    assert all(losses == results[0][0] for losses, *_ in results), "every rank logs the whole batch's losses"


def train_paper(rank: int, ranks: int, folder: Path) -> None:
    training = tiny_training(tiny_config("paper", steps=STEPS, model={"dropout": 0.0}))
    own = torch.nn.BatchNorm2d(3)
    own(torch.full((1, 3, 2, 2), float(rank)) + torch.arange(4.0).view(1, 1, 2, 2))
    mine = own.running_mean.clone()
    average_statistics(own)
    for step in range(3):
        training.step(synthetic_batch(step, 2, 2 * rank))
    torch.save({"state": training.state(), "mine": mine, "averaged": own.running_mean}, folder / f"{rank}.pt")


def test_batch_norm_is_each_ranks_own_with_averaged_statistics(tmp_path: Path):
    on_ranks(2, train_paper, tmp_path)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert not torch.equal(one["mine"], other["mine"])
    for each in (one, other):
        torch.testing.assert_close(each["averaged"], (one["mine"] + other["mine"]) / 2)
    for part in ("model", "average", "discriminator"):
        states = one["state"][part], other["state"][part]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0]), part
    model, average = one["state"]["model"], one["state"]["average"]
    statistics = [name for name in model if "running" in name]
    assert statistics
    assert all(torch.equal(model[name], average[name]) for name in statistics)
    assert any(model[name].abs().sum() > 0 for name in statistics if name.endswith("mean"))


def break_one(rank: int, ranks: int, folder: Path) -> None:
    training = tiny_training(tiny_config())
    batch = synthetic_batch(0, 2, 2 * rank)
    if rank == 1:
        batch.driving_encoded.fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match="A/attribute") as error:
        training.step(batch)
    (folder / f"{rank}").write_text(str(error.value.here))


def test_a_bad_slice_stops_every_rank(tmp_path: Path):
    on_ranks(2, break_one, tmp_path)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["False", "True"]


def ask(rank: int, ranks: int, folder: Path) -> None:
    (folder / f"{rank}").write_text(str(any_rank(rank == 0, False, rank == 1, device=torch.device("cpu"))))


def test_a_wish_of_one_rank_is_every_ranks(tmp_path: Path):
    on_ranks(2, ask, tmp_path)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["[True, False, True]"] * 2
