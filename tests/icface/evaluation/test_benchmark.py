"""The benchmark's scores, by answers that are known."""

import numpy as np
import pytest

from icface.attributes import ACTION_UNIT_NAMES, ATTRIBUTE_NAMES
from icface.evaluation.benchmark import LEAST_READ, benchmark_scores
from icface.synthetic.labels import attributes
from icface.synthetic.motion import single_moves

MOTION, MOVES = single_moves()
PEOPLE = 3


def pairs_of(shown, read=lambda change: change):
    """Pairs of people who differ at rest. `read`: what the analyzer makes of a true change; `shown`: of an output's."""
    truth = np.tile(attributes(MOTION), (PEOPLE, 1)).astype(np.float64)
    people = np.repeat(np.arange(PEOPLE), len(MOVES))
    rest = np.random.default_rng(0).uniform(0, 0.3, (PEOPLE, len(ATTRIBUTE_NAMES)))[people]
    count = len(truth)
    pairs = {
        "asked": truth.astype(np.float32),
        "person": np.array([f"p{number}" for number in people], dtype=object),
        "noise_floor::found": rest + read(truth),
        "model::found": rest + 0.1 * (people[:, None] + 1) + shown(read(truth)),
        "noise_floor:identity": np.full(count, 0.2),
        "model:identity": np.full(count, 0.5),
        "model:face_l1": np.full(count, 0.05),
        "copy_source:face_l1": np.full(count, 0.1),
    }
    return pairs, np.array(MOVES * PEOPLE)


def test_every_unit_moves_alone_and_is_labelled():
    truth = attributes(MOTION)
    for name in ACTION_UNIT_NAMES:
        rows = [row for row, move in enumerate(MOVES) if move == name]
        column = ATTRIBUTE_NAMES.index(name)
        assert truth[rows[0], column] > 0.2, name
        assert truth[rows[1], column] > truth[rows[0], column], name
        assert not MOTION.pose[rows].any()
    assert MOVES[:2] == ("", "")
    assert not truth[:2].any()


def test_a_perfect_method_scores_one_and_zero():
    pairs, moves = pairs_of(lambda change: change)
    pairs["model::found"][:, :3] = pairs["noise_floor::found"][:, :3]
    found = benchmark_scores(pairs, moves)
    assert set(found.response) == set(ACTION_UNIT_NAMES)
    assert list(found.response.values()) == pytest.approx([1.0] * len(ACTION_UNIT_NAMES))
    assert list(found.leak.values()) == pytest.approx([0.0] * len(ACTION_UNIT_NAMES), abs=1e-6)
    assert found.pose == pytest.approx({"pitch": 0, "yaw": 0, "roll": 0})
    assert found.identity == pytest.approx(0.3)
    assert (found.face_l1, found.found, found.people) == (0.5, 1.0, PEOPLE)


def test_half_of_a_move_is_half_the_response_and_pose_is_in_degrees():
    pairs, moves = pairs_of(lambda change: change / 2)
    pairs["model::found"][:, :3] = pairs["noise_floor::found"][:, :3] + np.radians(2.0)
    found = benchmark_scores(pairs, moves)
    assert found.response["AU12"] == pytest.approx(0.5)
    assert found.headline()["response"] == pytest.approx(0.5)
    assert found.pose == pytest.approx({"pitch": 2, "yaw": 2, "roll": 2})


def test_copying_the_source_has_no_response():
    pairs, moves = pairs_of(lambda change: change * 0)
    assert benchmark_scores(pairs, moves).headline()["response"] == pytest.approx(0)


def test_what_moves_beside_the_unit_is_leak_and_what_the_analyzer_mixes_up_is_not():
    smile, brows = (ATTRIBUTE_NAMES.index(name) for name in ("AU12", "AU04"))

    def more_brows(share):
        def change_of(change):
            more = change.copy()
            more[:, brows] += share * change[:, smile]
            return more

        return change_of

    # An analyzer that sees brows in every smile, and a perfect method.
    pairs, moves = pairs_of(lambda change: change, more_brows(1.0))
    assert benchmark_scores(pairs, moves).leak["AU12"] == pytest.approx(0, abs=1e-6)
    # A perfect analyzer, and a method that frowns at every smile.
    pairs, moves = pairs_of(more_brows(0.5))
    assert benchmark_scores(pairs, moves).leak["AU12"] == pytest.approx(0.5 / (len(ACTION_UNIT_NAMES) - 1), rel=1e-3)


def test_units_that_nobody_reads_and_lost_faces():
    pairs, moves = pairs_of(lambda change: change, lambda change: change * LEAST_READ / 10)
    assert not benchmark_scores(pairs, moves).response
    pairs, moves = pairs_of(lambda change: change)
    pairs["model::found"][::3] = np.nan
    pairs["model:identity"][:] = np.nan
    found = benchmark_scores(pairs, moves)
    assert found.found == pytest.approx(2 / 3, abs=0.02)
    assert found.identity is None
    assert "AU12" in found.response
