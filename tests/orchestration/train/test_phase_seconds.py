"""Seconds by phase: all of the time is counted, a step at a time, since the last that was told."""

import pytest

from orchestration.train.phase_seconds import PhaseSeconds


def test_every_second_belongs_to_a_phase_and_is_told_once():
    now = [100.0]
    seconds = PhaseSeconds(lambda: now[0])

    def spend(phase: str, step: int, taken: float) -> None:
        seconds.begin(phase, step)
        now[0] += taken

    for step in (11, 12):  # a run that goes on after 10 steps
        spend("reading a batch", step, 1.0)
        spend("training", step, 4.0)
    assert seconds.taken(12) == pytest.approx({"seconds_a_step/reading_a_batch": 1.0, "seconds_a_step/training": 4.0})
    now[0] += 2.0  # pictures are made before the next phase is begun: still the last one
    spend("writing a checkpoint", 12, 3.0)
    spend("reading a batch", 13, 5.0)
    told = {"training": 2.0, "writing_a_checkpoint": 3.0, "reading_a_batch": 5.0}
    assert seconds.taken(13) == pytest.approx({f"seconds_a_step/{name}": value for name, value in told.items()})
    assert seconds.taken(13) == {}
