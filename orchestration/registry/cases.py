"""Pairs to look at: some of each group as they come, and the worst and the best ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icface.arrays import Picture
from icface.evaluation.measurements import Measurements
from icface.evaluation.rendering import ModelRenderer
from icface.metrics.attributes import geodesic_degrees
from icface.sheets import Row, contact_sheet
from pipelines.loading.evaluation_pairs import EvaluationPairs

SHOWN = 6
"""Pairs on a sheet."""
CELL = 112


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Some pairs as rows of pictures: source, driving frame, what the model made."""

    group: str
    choice: str
    """`sample`, `worst` or `best`."""
    why: str
    """How the pairs were chosen."""
    picture: Picture


def sheets(renderer: ModelRenderer, pairs: EvaluationPairs, measured: Measurements) -> list[Sheet]:
    """For each group a sample, its worst and its best pairs.

    Pairs of one person are ranked by the face box's L1, others by the angle to the pose that was asked for. A picture
    without a face is the worst. At most one pair of each track is shown.
    """
    found = []
    groups = measured.pairs["group"].astype(str)
    for group in dict.fromkeys(groups.tolist()):
        rows = np.flatnonzero(groups == group)
        errors, what = _errors(measured, rows)
        order = rows[np.argsort(errors, kind="stable")]
        captions = {int(row): f"{what} {error:.3g}" for row, error in zip(rows, errors, strict=True)}
        spread = rows[np.unique(np.linspace(0, len(rows) - 1, SHOWN).round().astype(int))]
        tracks = measured.pairs["track"].astype(str)
        for choice, numbers, why in (
            ("sample", spread.tolist(), "evenly spread"),
            ("worst", _one_a_track(order[::-1], tracks), f"largest {what}"),
            ("best", _one_a_track(order, tracks), f"smallest {what}"),
        ):
            picture = _sheet(renderer, pairs, numbers, captions)
            found.append(Sheet(group=group, choice=choice, why=why, picture=picture))
    return found


def _errors(measured: Measurements, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], str]:
    """(R,) how bad each of these pairs is, and the name of that number."""
    table = measured.pairs
    if (table["kind"][rows] == "self").all():
        return table["model:face_l1"][rows].astype(np.float64), "face L1"
    angles = geodesic_degrees(table["asked"][rows, :3], table["model::found"][rows, :3])
    return np.where(np.isfinite(angles), angles, np.inf), "pose error in degrees"


def _one_a_track(order: npt.NDArray[np.int64], tracks: npt.NDArray[np.str_]) -> list[int]:
    chosen: dict[str, int] = {}
    for row in order.tolist():
        chosen.setdefault(str(tracks[row]), row)
        if len(chosen) == SHOWN:
            break
    return list(chosen.values())


def _sheet(
    renderer: ModelRenderer, pairs: EvaluationPairs, numbers: Sequence[int], captions: dict[int, str]
) -> Picture:
    shown = list(pairs.some(numbers))
    made = renderer.render(shown).pictures
    columns: dict[str, list[Picture]] = {
        "source": [pair.source for pair in shown],
        "driving": [pair.driving for pair in shown],
        "model": list(made),
    }
    rows = [
        Row(
            heading=f"{name}" if index else "",
            pictures=pictures,
            captions=[captions[number] for number in numbers] if name == "model" else (),
        )
        for index, (name, pictures) in enumerate(columns.items(), 1)
    ]
    return contact_sheet(rows, cell=CELL)
