import numpy as np
import pandas as pd
import pytest

from icface.attributes import ATTRIBUTE_NAMES, POSE_NAMES
from icface.control import EYES, MOUTH, check_columns, mix, relative, seconds
from icface.errors import IcfaceError
from icface.labels import baseline, less_baseline


def table(count: int, fps: float, seed: int) -> pd.DataFrame:
    values = np.random.default_rng(seed).random((count, len(ATTRIBUTE_NAMES))).astype(np.float32)
    result = pd.DataFrame(values, columns=list(ATTRIBUTE_NAMES))
    result.insert(0, "timestamp", np.arange(count) / fps)
    return result


def test_the_groups_share_out_all_attributes() -> None:
    assert sorted((*POSE_NAMES, *EYES, *MOUTH)) == sorted(ATTRIBUTE_NAMES)


def test_each_part_drives_its_group_and_nothing_else() -> None:
    base, pose, eyes, mouth = (table(10, 25, seed) for seed in range(4))
    mixed = mix(base, pose=pose, eyes=eyes, mouth=mouth)
    for names, part in ((POSE_NAMES, pose), (EYES, eyes), (MOUTH, mouth)):
        np.testing.assert_allclose(mixed[list(names)], part[list(names)])
    alone = mix(base, eyes=eyes)
    others = [*POSE_NAMES, *MOUTH]
    np.testing.assert_array_equal(alone[others], base[others])


@pytest.mark.parametrize(("count", "fps"), [(5, 25.0), (40, 25.0), (12, 10.0), (50, 60.0)])
def test_a_part_of_another_length_and_speed_keeps_its_own_time(count: int, fps: float) -> None:
    base, part = table(20, 25, 0), table(count, fps, 1)
    mixed = mix(base, mouth=part)
    assert len(mixed) == len(base)
    wanted = np.interp(base["timestamp"], part["timestamp"], part["AU25"])  # holds the last value past the end
    np.testing.assert_allclose(mixed["AU25"], wanted, rtol=1e-6)


def test_a_picture_is_held() -> None:
    base, picture = table(5, 25, 0), table(1, 25, 1)
    assert mix(base, pose=picture)["pose_yaw"].tolist() == [picture["pose_yaw"][0]] * 5


def test_what_a_part_did_not_measure_stays_the_bases() -> None:
    base, part = table(3, 25, 0), table(3, 25, 1)
    part["AU14"] = np.nan
    part = part.drop(columns="AU10")
    part.loc[1, "AU25"] = np.nan
    mixed = mix(base, mouth=part)
    np.testing.assert_array_equal(mixed[["AU14", "AU10"]], base[["AU14", "AU10"]])
    assert mixed["AU25"][1] == pytest.approx((part["AU25"][0] + part["AU25"][2]) / 2)


def test_without_a_base_the_first_part_sets_the_time_and_the_rest_is_left_to_the_source() -> None:
    eyes, mouth = table(4, 25, 0), table(9, 25, 1)
    mixed = mix(None, eyes=eyes, mouth=mouth)
    assert len(mixed) == 4
    assert set(mixed.columns) == {"timestamp", *EYES, *MOUTH}


def test_relative_takes_the_drivers_rest_away() -> None:
    rng = np.random.default_rng(2)
    driver = table(60, 25, 0).assign(face=[True] * 59 + [False], AU12=rng.uniform(0, 5, 60))
    result = relative(driver)
    rest = np.percentile(driver["AU12"][:59], 20)
    np.testing.assert_allclose(result["AU12"], np.maximum(driver["AU12"] - rest, 0), atol=1e-6)
    # As the labels of a training are made ready.
    labels = driver[list(ATTRIBUTE_NAMES)].to_numpy(np.float32)
    np.testing.assert_array_equal(result[list(ATTRIBUTE_NAMES)], less_baseline(labels, baseline(labels[:59])))
    np.testing.assert_array_equal(result["pose_yaw"], driver["pose_yaw"].astype(np.float32))


def test_the_first_face_of_a_short_driver_is_its_resting_face() -> None:
    driver = table(49, 25, 0).assign(face=[False] + [True] * 48)
    result = relative(driver)
    for name in ("AU12", "AU45"):
        np.testing.assert_allclose(result[name], np.maximum(driver[name] - driver[name][1], 0), atol=1e-6)
    np.testing.assert_allclose(result["pose_pitch"], driver["pose_pitch"] - driver["pose_pitch"][1], atol=1e-6)
    np.testing.assert_array_equal(result["pose_yaw"], driver["pose_yaw"].astype(np.float32))


def test_one_face_has_no_motion() -> None:
    with pytest.raises(IcfaceError, match="no motion"):
        relative(table(1, 25, 0))


@pytest.mark.parametrize(
    ("column", "message"), [("yaw", "pose_yaw in radians"), ("AU1", "unknown column 'AU1'; known are pose_pitch")]
)
def test_unknown_columns_are_refused(column: str, message: str) -> None:
    with pytest.raises(IcfaceError, match=message):
        check_columns(pd.DataFrame({column: [1.0]}))


def test_the_name_of_an_analyzer_may_stand_beside_attributes() -> None:
    check_columns(pd.DataFrame({"AU12": [1.0], "analyzer": ["mediapipe"]}))


def test_rows_out_of_order_are_refused() -> None:
    with pytest.raises(IcfaceError, match="in order of time"):
        seconds(pd.DataFrame({"timestamp": [0.0, 0.2, 0.1]}))
