import numpy as np
import pandas as pd
import pytest

from icface.attributes import AttributeSchema, Seen
from icface.control import relative
from icface.control.mapping import map_attributes


def seen_of(values: np.ndarray) -> Seen:
    low, middle, high = (float(np.percentile(values, share)) for share in (1, 50, 99))
    return Seen(min=float(values.min()), p01=low, p50=middle, p99=high, max=float(values.max()))


def test_a_data_sets_numbers_land_on_the_models_distribution() -> None:
    rng = np.random.default_rng(0)
    smiles = rng.gamma(2, 0.4, 5000)  # what happened
    ours, theirs = 0.3 + 0.8 * smiles, 0.1 + 2.5 * smiles  # what the two analyzers say of it
    pitch = rng.normal(0, 0.2, 5000)
    schema = AttributeSchema.default().with_seen({"AU12": seen_of(ours), "pose_pitch": seen_of(pitch)})
    table = pd.DataFrame({"AU12": theirs, "pose_pitch": pitch + 0.15, "pose_yaw": pitch, "AU09": 0.0})
    mapped = map_attributes(table, schema, {"AU12": seen_of(theirs), "pose_pitch": seen_of(pitch + 0.15)})
    np.testing.assert_allclose(mapped["AU12"], ours, atol=1e-4)
    np.testing.assert_allclose(mapped["pose_pitch"], pitch, atol=1e-5)
    np.testing.assert_array_equal(mapped["pose_yaw"], table["pose_yaw"])


def test_without_a_data_set_the_drivers_resting_face_is_taken_off() -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"AU12": rng.uniform(0.5, 2, 80), "AU45": rng.uniform(0, 1, 80)})
    mapped = map_attributes(table, AttributeSchema.default(), None)
    np.testing.assert_allclose(mapped["AU12"], relative(table)["AU12"])
    # Too few frames to tell it: as they are.
    assert map_attributes(table[:10], AttributeSchema.default(), None)["AU12"].tolist() == pytest.approx(
        table["AU12"][:10].tolist()
    )


def test_a_unit_that_never_moved_tells_no_scale() -> None:
    still = Seen(min=0, p01=0, p50=0, p99=0.01, max=0.02)
    moving = Seen(min=0, p01=0, p50=0.2, p99=1.5, max=3)
    schema = AttributeSchema.default().with_seen({"AU12": moving})
    mapped = map_attributes(pd.DataFrame({"AU12": [0.5, 1.0]}), schema, {"AU12": still})
    assert mapped["AU12"].tolist() == [0.5, 1.0]
