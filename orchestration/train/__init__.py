"""Distributed training: the driver, the ranks, their checkpoints."""
