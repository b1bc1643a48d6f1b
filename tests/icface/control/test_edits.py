import math

import numpy as np
import pandas as pd
import pytest

from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema, Seen
from icface.control import apply_edits, clamp_to_seen, parse_edits
from icface.errors import IcfaceError

SCHEMA = AttributeSchema.default()


def test_degrees_become_radians_and_units_stay() -> None:
    edits = parse_edits(["AU12=3.5", "yaw=20", " pitch = -10 "], SCHEMA)
    assert edits == {
        "AU12": 3.5,
        "pose_yaw": pytest.approx(math.radians(20)),
        "pose_pitch": pytest.approx(math.radians(-10)),
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("pose_yaw=0.3", "write yaw in degrees, as in yaw=10"),
        ("AU1=2", "unknown attribute 'AU1'; known are pitch, yaw, roll, AU01, "),
        ("au12=2", "unknown attribute 'au12'"),
        ("AU12=5.1", r"must lie in 0\.\.5"),
        ("AU12=-0.1", r"must lie in 0\.\.5"),
        ("yaw=41", r"must lie in -40\.1\.\.40\.1 degrees"),
        ("AU12=nan", r"must lie in 0\.\.5"),
        ("AU12=inf", r"must lie in 0\.\.5"),
        ("AU12=much", "'much' is not a number"),
        ("AU12", "not NAME=NUMBER"),
        ("=3", "not NAME=NUMBER"),
    ],
)
def test_what_cannot_be_set_is_one_clear_line(entry: str, message: str) -> None:
    with pytest.raises(IcfaceError, match=message) as caught:
        parse_edits([entry], SCHEMA)
    assert "\n" not in str(caught.value)


def test_the_bounds_that_an_error_names_can_be_set() -> None:
    assert parse_edits(["yaw=40.1", "roll=-40.1", "AU12=5"], SCHEMA).keys() == {"pose_yaw", "pose_roll", "AU12"}


def test_naming_an_attribute_twice_is_refused() -> None:
    with pytest.raises(IcfaceError, match="twice"):
        parse_edits(["AU12=1", "AU12=2"], SCHEMA)


def test_differences_and_factors_have_ranges_of_their_own() -> None:
    assert parse_edits(["AU12=-2", "yaw=-60"], SCHEMA, "add") == {"AU12": -2, "pose_yaw": pytest.approx(-math.pi / 3)}
    assert parse_edits(["AU25=1.5", "yaw=0.5"], SCHEMA, "scale") == {"AU25": 1.5, "pose_yaw": 0.5}
    for entry, verb in (("AU12=6", "add"), ("AU12=-1", "scale")):
        with pytest.raises(IcfaceError, match="must lie in"):
            parse_edits([entry], SCHEMA, verb)  # type: ignore[arg-type]


def test_what_was_not_trained_cannot_be_edited() -> None:
    shares = dict.fromkeys(ATTRIBUTE_NAMES, 1.0) | {"AU14": 0.0}
    schema = SCHEMA.with_measured_shares(shares)
    with pytest.raises(IcfaceError, match=r"AU14 cannot be set.*pitch, yaw, roll, AU01") as refused:
        parse_edits(["AU14=1"], schema)
    assert "pose_" not in str(refused.value), "the names that --set takes"
    with pytest.raises(IcfaceError, match="AU14 cannot be set"):
        apply_edits(pd.DataFrame({"AU12": [1.0]}), schema, {}, scale={"AU14": 2})


def test_scale_then_add_then_set() -> None:
    table = pd.DataFrame({"AU12": [1.0, 2.0], "pose_yaw": [0.1, -0.2], "AU25": [1.0, 1.0]})
    result = apply_edits(
        table,
        SCHEMA,
        {},
        scale={"AU12": 2, "pose_yaw": 3},
        add={"AU12": 0.5, "AU25": 1},
        set={"AU25": 4},
    )
    np.testing.assert_allclose(result["AU12"], [2.5, 4.5])
    np.testing.assert_allclose(result["pose_yaw"], [0.3, -0.6], rtol=1e-6)
    np.testing.assert_allclose(result["AU25"], [4, 4])
    np.testing.assert_allclose(table["AU12"], [1, 2])


def test_an_attribute_without_a_column_starts_from_the_sources_own() -> None:
    own = {"AU12": 1.5, "AU01": float("nan")}
    result = apply_edits(pd.DataFrame({"frame": [0, 1]}), SCHEMA, own, add={"AU12": 1, "AU01": 1})
    np.testing.assert_allclose(result[["AU12", "AU01"]], [[2.5, 1], [2.5, 1]])


def test_what_was_not_measured_is_edited_from_neutral() -> None:
    table = pd.DataFrame({"AU12": [np.nan, 2.0]})
    result = apply_edits(table, SCHEMA, {"AU12": 4.0}, add={"AU12": 1})
    np.testing.assert_allclose(result["AU12"], [1, 3])


def test_no_edit_changes_nothing() -> None:
    table = pd.DataFrame({"AU12": [np.nan, 2.0]})
    pd.testing.assert_frame_equal(apply_edits(table, SCHEMA, {}), table)


SEEN = SCHEMA.with_seen(
    {
        "AU12": Seen(min=0.0, p01=0.0, p50=0.1, p99=1.5, max=1.8),
        "pose_yaw": Seen(min=-0.5, p01=-0.4, p50=0.0, p99=0.3, max=0.4),
    }
)


def test_percent_are_of_the_99th_percentile_and_of_the_1st_on_the_other_side() -> None:
    assert parse_edits(["AU12=100%", "yaw=50%"], SEEN) == pytest.approx({"AU12": 1.5, "pose_yaw": 0.15})
    assert parse_edits(["AU12=50%", "yaw=-50%"], SEEN) == pytest.approx({"AU12": 0.75, "pose_yaw": -0.2})
    assert parse_edits(["AU12=-50%"], SEEN, "add") == pytest.approx({"AU12": -0.75})


@pytest.mark.parametrize(
    ("entry", "schema", "message"),
    [
        ("AU12=101%", SEEN, "must lie in 0%..100%"),
        ("AU12=-1%", SEEN, "must lie in 0%..100%"),
        ("yaw=-101%", SEEN, "must lie in -100%..100%"),
        ("AU12=%", SEEN, "'%' is not a number"),
        ("AU12=nan%", SEEN, "must lie in"),
        ("AU12=50%", SCHEMA, "does not say which values it has seen"),
    ],
)
def test_percent_that_mean_nothing_are_refused(entry: str, schema: AttributeSchema, message: str) -> None:
    with pytest.raises(IcfaceError, match=message):
        parse_edits([entry], schema)


def test_what_is_set_beyond_the_training_data_is_clamped_with_both_values_named() -> None:
    clamped, notices = clamp_to_seen({"AU12": 3.5, "pose_yaw": -0.6, "AU25": 4.0}, SEEN)
    assert clamped == {"AU12": 1.8, "pose_yaw": -0.5, "AU25": 4.0}
    assert notices == [
        "AU12=3.5 is beyond the training data, whose largest is AU12=1.8: AU12=1.8 is used",
        "yaw=-34.4 is beyond the training data, whose smallest is yaw=-28.6: yaw=-28.6 is used",
    ]
    assert clamp_to_seen({"AU12": 1.8}, SEEN) == ({"AU12": 1.8}, [])
