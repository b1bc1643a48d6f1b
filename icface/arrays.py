"""Names for the arrays that are passed around, so that a signature says what is in them. Every picture is RGB."""

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""(H, W, 3) uint8 RGB: a picture or a frame of a video."""
Pictures = npt.NDArray[np.uint8]
"""(N, H, W, 3) uint8 RGB: pictures of one size."""
Labels = npt.NDArray[np.float32]
"""(..., 20) float32: raw attributes in the order of `ATTRIBUTE_NAMES`; NaN where not measured."""
Array = npt.NDArray[np.float32]
"""float32 of any shape; the docstring beside it says which."""
Doubles = npt.NDArray[np.float64]
"""float64 of any shape, as `Array`: sums and statistics."""
