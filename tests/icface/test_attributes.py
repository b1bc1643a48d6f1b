import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icface.attributes import ATTRIBUTE_NAMES, Attribute, AttributeSchema, Seen
from icface.errors import IcfaceError


def test_order_is_the_papers():
    assert ATTRIBUTE_NAMES[:4] == ("pose_pitch", "pose_yaw", "pose_roll", "AU01")
    assert ATTRIBUTE_NAMES[-1] == "AU45"
    assert len(ATTRIBUTE_NAMES) == 20


@pytest.mark.parametrize(("pose_range", "raw", "coded"), [(0.7, 0.35, 0.75), (0.5, 0.25, 0.75), (0.5, -0.5, 0.0)])
def test_both_pose_ranges_code_as_the_reference_says(pose_range, raw, coded):
    schema = AttributeSchema.default(pose_range)
    values = schema.neutral()[None].copy()
    values[0, 1] = raw
    assert schema.encode(values)[0][0, 1] == pytest.approx(coded)


@given(st.lists(st.floats(0, 1, width=32), min_size=20, max_size=20))
def test_decoding_undoes_coding(coded):
    schema = AttributeSchema.default()
    again, clamped = schema.encode(schema.decode([coded]))
    np.testing.assert_allclose(again[0], coded, atol=1e-6)
    assert clamped.sum() <= np.sum(np.isin(coded, [0, 1]))  # rounding at the very edges


def test_values_out_of_range_are_clamped_and_counted():
    schema = AttributeSchema.default()
    raw = np.tile(schema.neutral(), (3, 1))
    raw[0, 1], raw[1, 1], raw[2, 3] = 0.9, -2.0, 6.0
    coded, clamped = schema.encode(raw)
    assert coded[0, 1] == 1 and coded[1, 1] == 0 and coded[2, 3] == 1
    assert clamped[1] == 2 and clamped[3] == 1 and clamped.sum() == 3


def test_null_is_coded_neutral_and_is_not_measured():
    schema = AttributeSchema.default()
    raw = np.full((1, 20), np.nan, np.float32)
    coded, clamped = schema.encode(raw)
    np.testing.assert_array_equal(coded[0], schema.neutral_encoded())
    assert clamped.sum() == 0
    assert not schema.measured(raw).any()


def test_an_attribute_that_was_hardly_measured_is_not_trained():
    shares = dict.fromkeys(ATTRIBUTE_NAMES, 1.0) | {"AU14": 0.0}
    schema = AttributeSchema.default().with_measured_shares(shares)
    assert not schema.trained[schema.index("AU14")]
    schema.check_trained(["AU12", "pose_yaw"])
    with pytest.raises(IcfaceError, match="AU14 cannot be set"):
        schema.check_trained(["AU12", "AU14"])


def test_json_round_trip_and_bad_json():
    schema = AttributeSchema.default(0.5).with_measured_shares(dict.fromkeys(ATTRIBUTE_NAMES, 0.25))
    assert AttributeSchema.from_json(schema.to_json()) == schema
    with pytest.raises(IcfaceError, match="cannot be read"):
        AttributeSchema.from_json([{"name": "AU01"}])


def test_unknown_names_are_told_with_the_known_ones():
    with pytest.raises(IcfaceError, match=r"unknown attribute 'AU99'.*AU45"):
        AttributeSchema.default().index("AU99")


@pytest.mark.parametrize("fields", [{"low": 1.0, "high": 0.0}, {"neutral": 9.0}, {"measured_share": 2.0}])
def test_impossible_attributes_are_refused(fields):
    with pytest.raises(ValueError, match="attribute AU01"):
        Attribute(**({"name": "AU01", "unit": "intensity", "low": 0.0, "high": 5.0, "neutral": 0.0} | fields))


def test_what_was_seen_bounds_values_and_survives_json():
    seen = Seen(min=0.0, p01=0.0, p50=0.2, p99=1.5, max=1.8)
    schema = AttributeSchema.default().with_seen({"AU12": seen})
    assert AttributeSchema.from_json(schema.to_json()) == schema
    raw = schema.neutral()[None].repeat(3, axis=0)
    raw[:, schema.index("AU12")] = [3.0, 1.0, np.nan]
    raw[:, schema.index("AU25")] = [5.0, 6.0, 0.0]
    clamped, moved = schema.clamp_to_seen(raw)
    np.testing.assert_allclose(clamped[:, schema.index("AU12")], [1.8, 1.0, np.nan])
    np.testing.assert_allclose(clamped[:, schema.index("AU25")], [5.0, 5.0, 0.0])
    assert {name: n for name, n in zip(schema.names, moved, strict=True) if n} == {"AU12": 1, "AU25": 1}


def test_an_older_schema_has_seen_nothing():
    entries = AttributeSchema.default().to_json()
    for entry in entries:
        entry.pop("seen")
    assert AttributeSchema.from_json(entries) == AttributeSchema.default()


def test_percentiles_that_fall_are_refused():
    with pytest.raises(ValueError, match="must not fall"):
        Seen(min=0.0, p01=0.5, p50=0.2, p99=1.5, max=1.8)
