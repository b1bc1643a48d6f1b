"""Long soaks in parts: which seeds this session takes, and which earlier ones have done.

ICFACE_SOAK_SEEDS picks seeds, as in `1-20` or `7,9,30-40`; without it every one is taken. ICFACE_SOAK_DONE names a file
that a finished part adds a line to; parts that it lists are skipped, so that the same command goes on.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def chosen(count: int) -> list[int]:
    """Seeds 1 to `count`, or those of them that ICFACE_SOAK_SEEDS picks.

    >>> chosen(3)
    [1, 2, 3]
    """
    text = os.environ.get("ICFACE_SOAK_SEEDS")
    if not text:
        return list(range(1, count + 1))
    picked: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        picked |= set(range(int(first), int(last or first) + 1))
    return sorted(seed for seed in picked if 1 <= seed <= count)


@contextmanager
def part(name: str, seed: int) -> Iterator[dict[str, Any]]:
    """A part of a soak, skipped when it is done; what is put into the dictionary is written down with it."""
    place = os.environ.get("ICFACE_SOAK_DONE")
    if place and Path(place).exists():
        done = [json.loads(line) for line in Path(place).read_text().splitlines()]
        if any((row["part"], row["seed"]) == (name, seed) for row in done):
            pytest.skip("done in an earlier session")
    found: dict[str, Any] = {}
    yield found
    line = json.dumps({"part": name, "seed": seed, **found})
    print(line)
    if place:
        with Path(place).open("a") as file:
            file.write(line + "\n")
