import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in one order, so that equal means bit-identical."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
