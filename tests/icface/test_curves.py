import numpy as np
import pandas as pd

from icface.attributes import AttributeSchema
from icface.curves import COLOURS, LEFT, PANEL, RIGHT, WIDTH, plot_curves


def drawn(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """(N, 2) rows and columns inside the plots that have just this colour."""
    found = np.argwhere((picture == colour).all(axis=2))
    return found[(found[:, 1] >= LEFT) & (found[:, 1] <= WIDTH - RIGHT)]


def test_a_curve_lies_where_its_values_are() -> None:
    times = np.arange(100) / 25
    table = pd.DataFrame({"timestamp": times, "AU12": np.linspace(0, 2, 100)})
    points = drawn(plot_curves(table, AttributeSchema.default()), COLOURS[0])
    # A straight line from the lower left to the upper right, over the whole plot.
    assert np.ptp(points[:, 1]) >= WIDTH - LEFT - RIGHT - 2
    assert abs(np.ptp(points[:, 0]) - PANEL) <= 3
    assert np.corrcoef(points[:, 0], points[:, 1])[0, 1] < -0.999


def test_poses_are_degrees_and_each_region_has_a_panel() -> None:
    schema = AttributeSchema.default()
    one = plot_curves(pd.DataFrame({"AU12": [0.0, 1.0]}), schema)
    two = plot_curves(pd.DataFrame({"AU12": [0.0, 1.0], "pose_yaw": [0.0, np.radians(20)]}), schema)
    assert two.shape[0] > one.shape[0] + PANEL
    # 20 degrees on an axis to 20 lie at the top of the first panel, 0 in its middle.
    points = drawn(two, COLOURS[0])
    pose = points[points[:, 0] < two.shape[0] // 2]
    assert abs(np.ptp(pose[:, 0]) - PANEL / 2) <= 3


def test_what_was_not_measured_is_a_gap_and_what_was_not_trained_is_left_out() -> None:
    schema = AttributeSchema.default().with_measured_shares(
        {name: float(name != "AU14") for name in AttributeSchema.default().names}
    )
    table = pd.DataFrame({"AU12": [1.0, 1.0, np.nan, np.nan, np.nan, 1.0, 1.0], "AU14": 0.5})
    picture = plot_curves(table, schema)
    columns = np.unique(drawn(picture, COLOURS[0])[:, 1])
    assert np.diff(columns).max() > 0.4 * (WIDTH - LEFT - RIGHT)
    assert len(drawn(picture, COLOURS[1])) == 0


def test_a_single_row_is_a_point() -> None:
    assert len(drawn(plot_curves(pd.DataFrame({"AU12": [0.5]}), AttributeSchema.default()), COLOURS[0])) > 5
