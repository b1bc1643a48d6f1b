"""What decides a data set of synthetic people. Light to import: neither arrays nor Ray."""

from dataclasses import dataclass
from typing import Any, Literal

from icface.errors import IcfaceError
from icface.options import Decides, decided

SINGLE = "single"
"""As `motion`: one unit or turn at a time (`icface.synthetic.motion.single_moves`)."""
SMALLEST = 32
"""Pixels below which a face is too small to tell its expression."""


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """Render a data set of synthetic people, whose labels are exact."""

    dataset: str
    """Folder of the data set. A path or fsspec URL."""
    people: int = 100
    """Synthetic people. More of them may be added later."""
    frames: Decides[int] = 250
    """Frames of each person, 25 a second."""
    size: Decides[int] = 128
    """Width and height of the pictures, pixels."""
    seed: Decides[int] = 0
    """Random seed: another seed gives other people."""
    motion: Decides[str | None] = None
    """A data set with blendshapes, or a csv file of ARKit units, whose motions the people make. `single`: one unit or
    turn at a time. By default motions are drawn."""
    truth: Decides[tuple[Literal["mask", "flow"], ...]] = ()
    """More columns. `mask`: what each pixel shows. `flow`: where it is in the frame of the track that is nearest to
    neutral, and whether it is seen there."""
    val_fraction: Decides[float] = 0.05
    """Share of the people in split `val`. If above 0, at least one of two or more people."""
    workers: int | None = None
    """Worker processes. Default: one per core."""
    address: str = "local"
    """Ray cluster: `local` starts one, `auto` joins the one on this machine, else HOST or HOST:PORT."""

    def __post_init__(self) -> None:
        for name in ("people", "frames"):
            if getattr(self, name) < 1:
                raise IcfaceError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.workers is not None and self.workers < 1:
            raise IcfaceError(f"workers must be at least 1, not {self.workers}")
        if self.size < SMALLEST or self.size % 2:
            raise IcfaceError(f"size must be even and at least {SMALLEST}, not {self.size}")
        if self.seed < 0:
            raise IcfaceError(f"seed must not be negative: {self.seed}")
        if not 0 <= self.val_fraction <= 1:
            raise IcfaceError(f"val_fraction must lie in 0..1, not {self.val_fraction}")

    def naming(self) -> dict[str, Any]:
        """The options that decide the data set's contents: a second run into it must have the same ones."""
        found = decided(self)
        truth = sorted(set(found.pop("truth")))
        return found | ({"truth": truth} if truth else {})
