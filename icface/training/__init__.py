"""Training: configuration, batches, losses, phases and `fit`, in one process or under torch.distributed."""
