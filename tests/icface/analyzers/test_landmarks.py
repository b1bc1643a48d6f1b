import numpy as np

from icface.analyzers.landmarks import IBUG_FROM_MESH, MIRRORED


def test_points_are_68_of_the_mesh_without_irises() -> None:
    assert len(set(IBUG_FROM_MESH.tolist())) == 68
    assert IBUG_FROM_MESH.max() < 468
    assert IBUG_FROM_MESH[30] == 4  # the tip of the nose


def test_mirroring_twice_is_nothing() -> None:
    assert np.array_equal(MIRRORED[MIRRORED], np.arange(68))
    assert np.flatnonzero(np.arange(68) == MIRRORED).tolist() == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
