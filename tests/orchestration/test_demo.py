"""The demo's parts that need no training."""

import pyarrow as pa
import pytest

from icface.evaluation.report import GroupReport, Report
from orchestration.demo import CLIPS, GOALS, WITH_HAND, free_of_hands, goals


def test_frames_with_a_hand_before_the_face_are_left_out():
    wolfgang, other = (CLIPS[name].removesuffix(".mp4") for name in ("WolfgangLanger_Pexels.mp4", "single_face.mp4"))
    assert set(WITH_HAND) == {wolfgang}
    frames = [0, 53, 54, 233, 234, 471]
    table = pa.table({"clip": [wolfgang] * 6 + [other] * 6, "frame": pa.array(frames * 2, pa.int32())})
    assert free_of_hands(table, "train")["frame"].to_pylist() == [0, 53, 234, 471, *frames]


@pytest.mark.parametrize(("l1", "met"), [(0.07, "yes"), (0.08, "no")])
def test_goals_are_told_with_what_was_reached(l1: float, met: str):
    model = {"face_l1": l1, "r.yaw": 0.95, "r.AU25": 0.59, "r.AU45": None, "r.AU12": 0.5}
    scores = {"model": model, "copy_source": {"face_l1": 0.1}}
    held_out = GroupReport(pairs=54, sources=2, scores=scores, correlated={})
    report = Report(protocol="2", pairs_hash="h", analyzer="a", size=64, groups={"held_out": held_out}, clamped={})
    first, *rows = goals(report)
    assert first == ("goal", "wanted", "reached", "met")
    assert [row[0] for row in rows] == [name for name, _, _ in GOALS]
    assert [row[2] for row in rows] == [f"{l1 / 0.1:.3f}", "0.950", "0.590", "–", "0.500"]
    assert [row[3] for row in rows] == [met, "yes", "no", "no", "yes"]
