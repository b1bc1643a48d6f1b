import numpy as np

from icface.analyzers.landmarks import IBUG_FROM_MESH, MIRRORED, ibug_landmarks


def test_points_are_taken_from_the_mesh_with_or_without_irises() -> None:
    mesh = np.random.default_rng(0).normal(size=(2, 478, 3)).astype(np.float32)
    assert len(set(IBUG_FROM_MESH.tolist())) == 68
    assert np.array_equal(ibug_landmarks(mesh)[1, 30], mesh[1, 4, :2])
    assert np.array_equal(ibug_landmarks(mesh), ibug_landmarks(mesh[:, :468]))


def test_mirroring_twice_is_nothing() -> None:
    assert np.array_equal(MIRRORED[MIRRORED], np.arange(68))
    assert np.flatnonzero(np.arange(68) == MIRRORED).tolist() == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
