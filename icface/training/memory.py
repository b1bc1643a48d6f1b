"""Memory that one training step frees serves the next one."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""
KEPT = 1 << 30
"""Bytes that glibc keeps although they are free, and the smallest piece that it asks the kernel for by itself."""


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, up to 1 GiB at the heap's end; False where there is no glibc.

    By default glibc gives large pieces back at once, and every step asks for them again. The kernel clears each page.
    That took 5 to 25 % of a step's CPU time, the more the fuller the machine. The memory at the peak stays the same.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return all(mallopt(setting, KEPT) for setting in (TRIM_THRESHOLD, MMAP_THRESHOLD))
