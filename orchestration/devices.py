"""The device that a command's `--gpu`, or a workflow's `gpu`, asks for."""

from icface.errors import IcfaceError


def device_asked(gpu: bool) -> str:
    """torch's name of the GPU, or of the CPU. Raises IcfaceError when a GPU is asked for and there is none."""
    if not gpu:
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise IcfaceError("--gpu: PyTorch sees no GPU here; leave --gpu out (`icface doctor` tells what is missing)")
    return "cuda"


def device_here(gpu: bool) -> str:
    """torch's name of the GPU if one is wanted and this machine has it, else of the CPU.

    A cluster's GPUs may train what a machine without one evaluates.
    """
    if not gpu:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
