import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema, Seen
from icface.control.motion import GESTURES, LiveSmoother, gesture, one_euro, read_keyframes
from icface.errors import IcfaceError


@pytest.mark.parametrize("name", GESTURES)
def test_a_gesture_begins_and_ends_at_the_sources_own_face(name: str) -> None:
    own = dict.fromkeys(ATTRIBUTE_NAMES, 0.1)
    schema = AttributeSchema.default().with_seen({"AU12": Seen(min=0, p01=0, p50=0.2, p99=1.25, max=2)})
    table = gesture(name, schema, own)
    moved = table[list(GESTURES[name][1])]
    np.testing.assert_allclose(moved.iloc[[0, -1]], 0.1, atol=1e-6)
    assert (moved.max() - moved.min()).min() > 0.05
    if name == "smile":
        assert table["AU12"].max() == pytest.approx(1.25)


def test_a_gesture_of_what_was_not_trained_is_refused() -> None:
    schema = AttributeSchema.default().with_measured_shares({name: float(name != "AU45") for name in ATTRIBUTE_NAMES})
    with pytest.raises(IcfaceError, match="AU45 cannot be set"):
        gesture("blink", schema, {})


def test_keyframes_from_csv_and_json_are_the_same(tmp_path: Path) -> None:
    csv, other = tmp_path / "k.csv", tmp_path / "k.json"
    csv.write_text("timestamp,AU12,pose_yaw,analyzer\n0,0,,dlib\n1,2,0.2,dlib\n2,1,,dlib\n")
    other.write_text(
        json.dumps(
            [{"timestamp": 0, "AU12": 0}, {"timestamp": 1, "AU12": 2, "pose_yaw": 0.2}, {"timestamp": 2, "AU12": 1}]
        )
    )
    linear = read_keyframes(csv, "linear")
    pd.testing.assert_frame_equal(linear, read_keyframes(other, "linear"))
    assert len(linear) == 51
    np.testing.assert_allclose(linear["AU12"], np.interp(np.arange(51) / 25, [0, 1, 2], [0, 2, 1]), atol=1e-6)
    assert (linear["pose_yaw"] == np.float32(0.2)).all()
    smooth = read_keyframes(csv)
    np.testing.assert_allclose(smooth["AU12"].iloc[[0, 25, 50]], [0, 2, 1], atol=1e-6)
    assert np.abs(np.diff(smooth["AU12"]))[[0, 24, 25, 49]].max() < 0.02  # slow at every key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("AU12\n1\n", "timestamp"),
        ("timestamp,AU99\n0,1\n", "unknown column 'AU99'"),
        ("timestamp,AU12\n0,much\n", "not a number"),
        ("timestamp,AU12\n1,1\n0,1\n", "in order of time"),
        ("timestamp,AU12\n0,\n", "no key of any attribute"),
        ("timestamp,AU12\n9999,1\n", "0 to 600 s"),
        ("", "cannot be read"),
    ],
)
def test_bad_keyframes(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "k.csv"
    path.write_text(text)
    with pytest.raises(IcfaceError, match=said):
        read_keyframes(path)
    with pytest.raises(IcfaceError, match="cannot be read"):
        read_keyframes(tmp_path / "none.json")


def test_one_euro_takes_jitter_off_and_leaves_a_fast_movement_where_it_is() -> None:
    generator = np.random.default_rng(0)
    times = np.arange(200) / 25
    noise = generator.normal(0, 0.05, 200)
    step = np.where(times < 4, 0.0, 2.0)
    table = pd.DataFrame({"timestamp": times, "AU12": noise, "AU25": step})
    table.loc[7, "AU12"] = np.nan
    filtered = one_euro(table)
    assert filtered["AU12"].std() < 0.6 * table["AU12"].std()
    assert np.isnan(filtered["AU12"][7]) and filtered["AU12"].notna().sum() == 199
    # Without delay: the middle of the step stays at 4 s.
    assert times[int(np.argmax(filtered["AU25"].to_numpy() > 1))] == pytest.approx(4.0, abs=0.05)


def test_the_live_filter_is_the_forward_half_of_the_filter() -> None:
    generator = np.random.default_rng(3)
    times = np.cumsum(generator.uniform(0.02, 0.06, 60))
    values = np.cumsum(generator.normal(0, 0.1, 60))
    smoother = LiveSmoother()
    live = [smoother(float(time), {"AU12": float(value)})["AU12"] for time, value in zip(times, values, strict=True)]
    # The whole filter is the mean of both directions; backwards it is the forward one of the mirrored table.
    mirror = LiveSmoother()
    back = [mirror(float(-t), {"AU12": float(v)})["AU12"] for t, v in zip(times[::-1], values[::-1], strict=True)][::-1]
    whole = one_euro(pd.DataFrame({"timestamp": times, "AU12": values}))["AU12"]
    np.testing.assert_allclose((np.array(live) + np.array(back)) / 2, whole, atol=1e-5)


def test_the_live_filter_leaves_blinks_and_what_is_not_measured() -> None:
    smoother = LiveSmoother()
    assert smoother(0.0, {"AU45": 0.0, "AU12": 1.0, "AU14": float("nan")})["AU12"] == 1.0
    second = smoother(0.04, {"AU45": 1.0, "AU12": 2.0, "AU14": float("nan")})
    assert second["AU45"] == 1.0 and 1.0 < second["AU12"] < 2.0 and np.isnan(second["AU14"])
    assert smoother(0.08, {"AU12": float("nan"), "AU45": 0.0})["AU45"] == 0.0
    assert smoother(0.12, {"AU12": 3.0, "AU45": 0.0})["AU12"] == 3.0  # begins again after a gap
