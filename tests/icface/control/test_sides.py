"""Left and right apart: names, edits, drivers and expressions of models with sides, and of those without."""

import numpy as np
import pandas as pd
import pytest

from icface.attributes import AttributeSchema, Seen
from icface.control import apply_edits, parse_edits
from icface.control.mixing import mix_regions, relative
from icface.control.motion import gesture
from icface.control.presets import presets_of
from icface.control.sides import fit_sides
from icface.errors import IcfaceError

WHOLE, SIDED = AttributeSchema.default(), AttributeSchema.default(sides=True)


def test_the_usual_schema_stays_and_sides_stand_in_their_units_place() -> None:
    assert len(WHOLE) == 20 and not WHOLE.sided
    assert len(SIDED) == 28 and SIDED.sided and AttributeSchema.from_json(SIDED.to_json()) == SIDED
    assert "AU12" not in SIDED.names
    assert SIDED.names.index("AU12R") == SIDED.names.index("AU12L") + 1 == SIDED.names.index("AU14") - 1
    assert {SIDED.attributes[SIDED.index(f"AU12{side}")].region for side in "LR"} == {"mouth"}


def test_an_edit_of_one_side_and_of_both() -> None:
    assert parse_edits(["AU12L=1.5"], SIDED) == {"AU12L": 1.5}
    assert parse_edits(["AU12=1.5", "AU26=1"], SIDED) == {"AU12L": 1.5, "AU12R": 1.5, "AU26": 1.0}
    with pytest.raises(IcfaceError, match="AU12L twice"):
        parse_edits(["AU12=1", "AU12L=2"], SIDED)
    with pytest.raises(IcfaceError, match="does not tell left from right: write AU12"):
        parse_edits(["AU12L=1"], WHOLE)
    with pytest.raises(IcfaceError, match="unknown attribute 'AU26L'"):
        parse_edits(["AU26L=1"], SIDED)
    shares = dict.fromkeys(SIDED.names, 1.0) | {"AU45R": 0.0}
    with pytest.raises(IcfaceError, match="AU45R cannot be set"):
        parse_edits(["AU45=1"], SIDED.with_measured_shares(shares))


def test_percent_is_of_each_sides_own_range() -> None:
    def up_to(value: float) -> Seen:
        return Seen(min=0, p01=0, p50=0, p99=value, max=value)

    schema = SIDED.with_seen({"AU12L": up_to(1.0), "AU12R": up_to(2.0)})
    assert parse_edits(["AU12=50%"], schema) == {"AU12L": 0.5, "AU12R": 1.0}


def test_drivers_of_both_kinds_fit_models_of_both_kinds() -> None:
    whole = pd.DataFrame({"AU12": [1.0, 2.0], "AU26": 0.5})
    fitted = fit_sides(whole, SIDED)
    assert fitted.to_dict("list") == {"AU26": [0.5, 0.5], "AU12L": [1.0, 2.0], "AU12R": [1.0, 2.0]}
    assert fit_sides(whole, WHOLE) is whole
    wink = pd.DataFrame({"AU45": 1.0, "AU45L": [2.0], "AU45R": [0.0]})
    assert fit_sides(wink, SIDED).to_dict("list") == {"AU45L": [2.0], "AU45R": [0.0]}
    assert fit_sides(wink, WHOLE).to_dict("list") == {"AU45": [1.0]}
    unknown = wink.assign(AU45L=np.nan, AU45R=np.nan)  # of an analyzer without blendshapes
    assert fit_sides(unknown, SIDED).to_dict("list") == {"AU45L": [1.0], "AU45R": [1.0]}
    with pytest.raises(IcfaceError, match="AU45L alone"):
        fit_sides(wink[["AU45L"]], WHOLE)


def test_sides_belong_to_regions_and_have_a_rest_of_their_own() -> None:
    base = pd.DataFrame({"timestamp": [0.0, 1.0], "AU12L": 0.0, "AU45L": 0.0})
    part = pd.DataFrame({"timestamp": [0.0, 1.0], "AU12L": 1.0, "AU45L": 2.0})
    mixed = mix_regions(base, {"mouth": part})
    assert mixed["AU12L"].tolist() == [1.0, 1.0] and mixed["AU45L"].tolist() == [0.0, 0.0]
    moved = relative(pd.DataFrame({"AU12L": [0.5, 1.5], "AU12R": [0.25, 0.25]}))
    assert moved["AU12L"].tolist() == [0.0, 1.0] and moved["AU12R"].tolist() == [0.0, 0.0]


def test_gestures_and_expressions_move_both_sides_but_for_contempt() -> None:
    smile = gesture("smile", SIDED, {})
    assert {"AU12L", "AU12R", "AU06L", "AU06R"} <= set(smile.columns) and "AU12" not in smile.columns
    np.testing.assert_array_equal(smile["AU12L"], smile["AU12R"])
    presets = {preset.name: preset.units for preset in presets_of(SIDED)}
    assert presets["happiness"] == ("AU06L", "AU06R", "AU12L", "AU12R")
    assert presets["contempt"] == ("AU12R", "AU14")
    assert {preset.name: preset.units for preset in presets_of(WHOLE)}["contempt"] == ("AU12", "AU14")


def test_an_edit_starts_from_the_sides_own_value() -> None:
    edited = apply_edits(pd.DataFrame(index=range(1)), SIDED, {"AU12L": 0.5, "AU12R": 1.0}, add={"AU12L": 0.25})
    assert edited.to_dict("list") == {"AU12L": [0.75]}
