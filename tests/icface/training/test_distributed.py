"""Two ranks with half the batch each do what one rank does with all of it."""

import os
import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from made_up_pairs import made_up_batch, tiny_config, tiny_training

STEPS = 20


def losses_and_gradients(config, rank, ranks):
    """Losses of each step, and the first step's gradients of every network after the all-reduce."""
    training = tiny_training(config)
    share = 4 // ranks
    logs, gradients = [], {}
    for step in range(STEPS):
        training.step(made_up_batch(step, share, rank * share))
        logs.append(training.numbers())
        if step == 0:
            for name in ("neutraliser", "generator", "discriminator"):
                network = getattr(training.networks, name)
                gradients |= {
                    f"{name}.{k}": p.grad.clone() for k, p in network.named_parameters() if p.grad is not None
                }
    return logs, gradients


def rank_main(rank, port, changes, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        torch.save(losses_and_gradients(tiny_config(steps=STEPS, **changes), rank, 2), folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("r1_interval", [1, 3])
def test_two_ranks_equal_one(tmp_path, r1_interval):
    # Plain SGD-like comparisons need no Adam: float32 rounding of tiny gradients would flip its first steps' signs.
    changes = {"loss": {"r1_interval": r1_interval}, "optimiser": {"name": "rmsprop", "generator_rate": 1e-5}}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(rank_main, (port, changes, tmp_path), nprocs=2)
    alone_losses, alone_gradients = losses_and_gradients(tiny_config(steps=STEPS, **changes), 0, 1)
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for losses, gradients in results:
        assert gradients.keys() == alone_gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, alone_gradients[name], atol=1e-5, rtol=1e-4, msg=name)
        for step in range(STEPS):
            assert losses[step].keys() == alone_losses[step].keys()
            for name, value in losses[step].items():
                np.testing.assert_allclose(value, alone_losses[step][name], atol=1e-3, rtol=1e-2, err_msg=name)
