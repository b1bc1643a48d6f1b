"""Damaged clips, and processes that die of a clip: what the tests of faults share."""

import os
from pathlib import Path

import numpy as np

KINDS = ("truncated", "flipped bits", "random span", "zeroed span", "lost span", "repeated span")


def mutated(data: bytes, kind: str, random: np.random.Generator) -> bytes:
    """`data` of a clip with one kind of damage at a random place.

    >>> len(mutated(b"abcdef", "truncated", np.random.default_rng(0))) < 6
    True
    """
    start = int(random.integers(0, len(data)))
    # Most damage is small; some takes half the file.
    length = max(1, int(len(data) * 10 ** random.uniform(-4, -0.3)))
    head, middle, tail = data[:start], data[start : start + length], data[start + length :]
    if kind == "truncated":
        return head
    if kind == "flipped bits":
        values = np.frombuffer(data, np.uint8).copy()
        places = random.integers(0, len(data), int(random.integers(1, 200)))
        values[places] ^= (1 << random.integers(0, 8, len(places))).astype(np.uint8)
        return values.tobytes()
    if kind == "random span":
        return head + random.bytes(len(middle)) + tail
    if kind == "zeroed span":
        return head + bytes(len(middle)) + tail
    if kind == "lost span":
        return head + tail
    return head + middle + middle + tail


def deadly(folder: Path, **environment: str) -> dict[str, str]:
    """An environment in which a clip's name decides what becomes of the process that reads it.

    `kills` aborts it (not with an analyzer of the class `ICFACE_TEST_SPARES`), `spins` burns CPU time for ever,
    `sleeps` never answers. Each clip that is begun adds a line to `folder/begun`. Python imports `sitecustomize` at its
    start, in the processes of Ray and in those that read clips.
    """
    place = folder / "hook"
    place.mkdir(parents=True)
    (place / "sitecustomize.py").write_text(HOOK)
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "ICFACE_TEST_BEGUN": str(folder / "begun"), **environment}


HOOK = """
import importlib.util, os, sys, time

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "pipelines.preprocess.clip_rows":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            inner = module.clip_rows

            def clip_rows(path, clip, split, config, analyzer, *rest, **more):
                with open(os.environ["ICFACE_TEST_BEGUN"], "a") as log:
                    log.write(clip.clip + "\\\\n")
                name = clip.clip.rsplit("/", 1)[-1]
                if name == "kills" and type(analyzer).__name__ != os.environ.get("ICFACE_TEST_SPARES"):
                    os.abort()
                while name == "spins":
                    pass
                if name == "sleeps":
                    time.sleep(1e6)
                return inner(path, clip, split, config, analyzer, *rest, **more)

            module.clip_rows = clip_rows

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
""".replace("\\\\n", "\\n")


def contents(url: Path) -> dict[str, bytes]:
    """Every file of a data set by name, but the hidden ones."""
    return {str(p.relative_to(url)): p.read_bytes() for p in sorted(url.rglob("*")) if p.is_file()}
