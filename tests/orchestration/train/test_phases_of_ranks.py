"""A training that hangs says which rank the others wait for, and in what."""

import time
from types import SimpleNamespace

import pytest

from orchestration.train import phases_of_ranks as module
from orchestration.train.coordinator import TrainingCoordinator
from orchestration.train.phases_of_ranks import Beat, Whereabouts, hang

NODES = {0: "10.0.0.1", 1: "10.0.0.2", 2: "10.0.0.3"}


def beats(*said: tuple[str, int, float], usual: float = 1.0, heard: float = 0.0) -> dict[int, Beat]:
    return {rank: Beat(phase, step, seconds, usual, heard) for rank, (phase, step, seconds) in enumerate(said)}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        # One rank waits for its data, the others for it.
        (
            beats(("training", 9, 240.0), ("reading a batch", 9, 241.0), ("training", 9, 239.0)),
            "nothing for 3 min: rank 1 on 10.0.0.2 is reading a batch (step 9); ranks 0, 2 wait for it",
        ),
        # All are in a step, one is behind.
        (
            beats(("training", 10, 500.0), ("training", 9, 501.0)),
            "nothing for 8 min: rank 1 on 10.0.0.2 is training (step 9); rank 0 waits for it",
        ),
        # While one rank gets on, nothing hangs.
        (beats(("training", 9, 240.0), ("reading a batch", 10, 3.0)), None),
        # A phase that always takes so long.
        (beats(("training", 9, 240.0), usual=100.0), None),
        (beats(("training", 9, 340.0), usual=100.0), "nothing for 5 min: rank 0 on 10.0.0.1 is training (step 9)"),
        ({}, None),
    ],
)
def test_the_rank_that_the_others_wait_for_is_named(said: dict[int, Beat], told: str | None):
    assert hang(said, NODES, now=0.0) == told


def test_a_rank_that_is_silent_is_named_first():
    said = beats(("training", 9, 1.0), ("training", 9, 1.0))
    said[0] = Beat("training", 9, 300.0, 1.0, heard=300.0)
    assert hang(said, NODES, now=310.0) == (
        "nothing for 5 min: rank 1 on 10.0.0.2 has said nothing since it was training (step 9); rank 0 waits for it"
    )


def test_a_rank_tells_what_it_does_and_the_coordinator_what_hangs(monkeypatch: pytest.MonkeyPatch):
    coordinator = TrainingCoordinator()

    def remote(name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=getattr(coordinator, name))

    handle = SimpleNamespace(beat=remote("beat"), left=remote("left"))
    coordinator.join(0, "10.0.0.1")
    with Whereabouts(handle, 0, beat_seconds=0.01) as whereabouts:
        whereabouts.begin("reading a batch", 3)
        deadline = time.monotonic() + 300
        while 0 not in coordinator.beats or coordinator.beats[0].phase != "reading a batch":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert coordinator.read().hang is None
        monkeypatch.setattr(module, "STUCK_SECONDS", 0.0)
        monkeypatch.setattr(module, "UNUSUAL", 0.0)
        assert coordinator.read().hang is not None
        assert "rank 0 on 10.0.0.1" in coordinator.read().hang
    deadline = time.monotonic() + 300
    while coordinator.beats:  # a beat may have been on its way
        coordinator.left(0)
        assert time.monotonic() < deadline
    assert coordinator.read().hang is None
