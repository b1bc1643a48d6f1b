"""The registered model: MLflow runs this file (models from code) beside the bundle; nothing is pickled."""

from typing import Any

import mlflow.models
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel

from icface import analyzers
from icface.animate import Animator
from icface.bundle import load_bundle
from icface.errors import IcfaceError
from icface.images import decode_image, encode_png
from icface.weights import FACE_LANDMARKER


class ServedModel(PythonModel):
    """A portrait and attributes in, a PNG out, one a row."""

    def load_context(self, context: Any) -> None:
        # The weights of the analyzer lie with the model: a server needs no network, and no set-up of ours.
        weights = context.artifacts.get(FACE_LANDMARKER.name)
        model = load_bundle(context.artifacts["bundle"])
        analyzer = analyzers.from_record(model.config.analyzer, weights=weights) if weights else None
        self.animator = Animator.from_bundle(model, analyzer)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """`model_input`: `portrait` (bytes of a JPEG or PNG) and columns named as attributes, raw units (radians, AU
        0..5); a missing column or value keeps the source's own. Returns one column, `png` (bytes).

        Raises IcfaceError for a picture without a face, an unknown column, and an attribute that was not trained.
        """
        if "portrait" not in model_input.columns:
            raise IcfaceError("the table needs a column `portrait` with the bytes of a JPEG or PNG")
        names = [name for name in model_input.columns if name != "portrait"]
        given = [name for name in names if model_input[name].notna().any()]
        self.animator.model.schema.check_trained(given)
        pictures: list[bytes | None] = [None] * len(model_input)
        for portrait in model_input["portrait"].unique():
            rows = np.flatnonzero(model_input["portrait"] == portrait)
            source = self.animator.prepare(decode_image(portrait, "portrait"))
            table = pd.DataFrame(
                {
                    name: model_input[name].iloc[rows].astype(np.float64).fillna(source.attributes.get(name, np.nan))
                    for name in given
                },
                index=rows,
            )
            for row, frame in zip(rows, self.animator.animate(source, table), strict=True):
                pictures[row] = encode_png(frame)
        return pd.DataFrame({"png": pictures})


mlflow.models.set_model(ServedModel())
