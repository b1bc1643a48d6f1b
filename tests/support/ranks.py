"""Tests on several ranks of torch.distributed, over gloo on the CPU."""

import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from support.servers import free_port


def on_rank(rank: int, port: int, ranks: int, function, arguments) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    try:
        function(rank, ranks, *arguments)
    finally:
        dist.destroy_process_group()
    # Of 50 ranks that ended as Python does, one aborted under load: a thread of torch's wants the interpreter when it
    # has gone. What a rank found is on the disk by now.
    os._exit(0)


def on_ranks(ranks: int, function, *arguments) -> None:
    """Run `function(rank, ranks, *arguments)` on each rank of a process group."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(on_rank, (free_port(), ranks, function, arguments), nprocs=ranks)
