"""Memory that is freed stays with the process, so that nobody has to clear its pages again."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from icface.training.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(48 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert keep_freed_memory()
print(faults(), faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_memory_is_used_again_without_asking_the_kernel():
    # 48 MiB: glibc returns what is larger than 32 MiB at once by default, whatever has been freed before.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    first, again = map(int, done.stdout.split())
    assert again < first / 4
