"""The registered model: MLflow runs this file (models from code) beside the bundle; nothing is pickled."""

import difflib
from typing import Any

import mlflow.models
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel

from icface import analyzers
from icface.animate import Animator
from icface.attributes import Attribute
from icface.bundle import load_bundle
from icface.errors import IcfaceError
from icface.images import decode_image, encode_png
from icface.weights import FACE_LANDMARKER

PORTRAIT = "portrait"
IN_DEGREES = {"pitch": "pose_pitch", "yaw": "pose_yaw", "roll": "pose_roll"}
"""What the command line calls the pose, and what is called so here, in radians."""


class RefusedRequestError(MlflowException, IcfaceError):
    """A request that cannot be answered: status 400, and one sentence as `message`."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        super().__init__(sentence, error_code=INVALID_PARAMETER_VALUE)

    @property
    def message(self) -> str:
        """The sentence that the client gets."""
        return self._sentence

    @message.setter
    def message(self, text: str) -> None:
        """MLflow's server would put the whole table before the sentence: it stays as it is."""


class ServedModel(PythonModel):
    """A portrait and attributes in, a PNG out, one a row."""

    def load_context(self, context: Any) -> None:
        """Open the bundle and the analyzer's weights; MLflow calls it once."""
        # The weights of the analyzer lie with the model: a server needs no network, and no set-up of ours.
        weights = context.artifacts.get(FACE_LANDMARKER.name)
        model = load_bundle(context.artifacts["bundle"])
        analyzer = analyzers.from_record(model.config.analyzer, weights=weights) if weights else None
        self.animator = Animator.from_bundle(model, analyzer)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """`model_input`: `portrait` (bytes of a JPEG or PNG) and columns named as attributes, raw units (radians, AU
        0..5); a missing column or value keeps the source's own.

        Returns two columns: `png` (bytes), and `notice`, which says what was clamped to the values that the training
        data shows, or is empty.

        Raises RefusedRequestError for a picture without a face, an unknown column, or an attribute that was not
        trained. So does a value that is not a number or lies outside the attribute's range.
        """
        self.check(model_input)
        try:
            return self._answer(model_input)
        except IcfaceError as error:
            raise RefusedRequestError(str(error)) from None

    def check(self, table: Any) -> None:
        """Raise RefusedRequestError that names the field which cannot be answered. `table`: before MLflow drops
        columns that it does not know.
        """
        try:
            table = pd.DataFrame(table)
        except ValueError:
            raise RefusedRequestError('send {"dataframe_records": [{"portrait": ..., "AU12": 2}]}') from None
        if len(table) == 0:
            raise RefusedRequestError("the table has no rows")
        if PORTRAIT not in table.columns:
            raise RefusedRequestError("the table needs a column `portrait` with the bytes of a JPEG or PNG")
        if table[PORTRAIT].isna().any():
            raise RefusedRequestError("a row has no portrait: each needs the bytes of a JPEG or PNG")
        schema = self.animator.model.schema
        for name in (str(name) for name in table.columns if name != PORTRAIT):
            if name not in schema.names:
                raise RefusedRequestError(_unknown(name, schema.names))
            self._check_values(schema.attributes[schema.index(name)], table[name])

    def _check_values(self, attribute: Attribute, values: pd.Series) -> None:
        name = attribute.name
        given = values.dropna()
        if given.empty:
            return
        try:
            self.animator.model.schema.check_trained([name])
        except IcfaceError as error:
            raise RefusedRequestError(str(error)) from None
        for value in given:
            if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
                raise RefusedRequestError(f"{name}: {value!r} is not a number")
            if not attribute.low <= value <= attribute.high:
                unit = " radians" if attribute.unit == "rad" else ""
                degrees = f" ({value:g} degrees are {np.deg2rad(value):.3f})" if unit else ""
                raise RefusedRequestError(
                    f"{name}: {value:g} lies outside {attribute.low:g}..{attribute.high:g}{unit}{degrees}"
                )

    def _answer(self, table: pd.DataFrame) -> pd.DataFrame:
        given = [name for name in table.columns if name != PORTRAIT and table[name].notna().any()]
        pictures: list[bytes | None] = [None] * len(table)
        for portrait in table[PORTRAIT].unique():
            rows = np.flatnonzero(table[PORTRAIT] == portrait)
            source = self.animator.prepare(decode_image(portrait, PORTRAIT))
            asked = pd.DataFrame(
                {
                    name: table[name].iloc[rows].astype(np.float64).fillna(source.attributes.get(name, np.nan))
                    for name in given
                },
                index=rows,
            )
            for row, frame in zip(rows, self.animator.animate(source, asked), strict=True):
                pictures[row] = encode_png(frame)
        return pd.DataFrame({"png": pictures, "notice": [self._notice(row) for _, row in table[given].iterrows()]})

    def _notice(self, row: pd.Series) -> str:
        """What of the values asked for was clamped; empty when nothing was."""
        schema = self.animator.model.schema
        raw = np.array([[row.get(name, np.nan) for name in schema.names]], np.float32)
        used = schema.clamp_to_seen(raw)[0][0]
        moved = [
            f"{name} {asked:g} is clamped to {value:.3g}"
            for name, asked, value in zip(schema.names, raw[0], used, strict=True)
            if abs(asked - value) > 1e-6  # not for NaN: what was not asked for
        ]
        return f"{', '.join(moved)}, the end of what the training data shows" if moved else ""


def _unknown(name: str, known: tuple[str, ...]) -> str:
    """Why a column is refused, with the name that was probably meant."""
    if name in IN_DEGREES:
        return f"{name}: here it is called {IN_DEGREES[name]}, in radians"
    near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.7)
    meant = f"; did you mean {near[0]}?" if near else ";"
    return f"unknown attribute {name!r}{meant} known are {', '.join(known)}"


mlflow.models.set_model(ServedModel())
