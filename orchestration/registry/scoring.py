"""The server of `icface models serve`: MLflow's own, which refuses unknown fields too and answers errors in a sentence.

MLflow drops columns that a model's signature lacks before the model sees them, and adds stack traces with the server's
paths to its errors.
"""

import json
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any

import mlflow
from fastapi import FastAPI, Request, Response
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import scoring_server

FOLDER = "ICFACE_SERVED_MODEL"
"""Variable that names the model's folder."""
PORTRAIT = "portrait"


class CheckedModel:
    """A pyfunc model that looks at a table before MLflow drops the columns that it does not know."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.metadata = model.metadata
        # Versions that were registered before have no such check.
        self._check = getattr(model.unwrap_python_model(), "check", None)

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """As `mlflow.pyfunc.PyFuncModel.predict`."""
        if params:
            raise MlflowException(
                f"unknown field {next(iter(params))!r} in params: the model takes none", INVALID_PARAMETER_VALUE
            )
        if self._check is not None:
            self._check(data)
        return self.model.predict(data)


def application(folder: str) -> FastAPI:
    """The web application for the model in `folder`."""
    app = scoring_server.init(CheckedModel(mlflow.pyfunc.load_model(folder)))  # type: ignore[arg-type]
    app.middleware("http")(_in_a_sentence)
    return app


async def _in_a_sentence(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """Errors as {"error_code": ..., "message": ...} alone."""
    if request.url.path == "/invocations" and "content-type" not in request.headers:
        return _error(400, "BAD_REQUEST", "name the body's format: Content-Type: application/json")
    response: Any = await answer(request)
    if response.status_code < 400:
        return response
    body = b"".join([part async for part in response.body_iterator])
    try:
        told = json.loads(body)
        message, code = str(told["message"]), str(told["error_code"])
    except (ValueError, TypeError, KeyError):
        message, code = body.decode(errors="replace"), "BAD_REQUEST"
    column = re.search(r"Failed to convert column (\w+) to type", message)
    if column:
        wanted = "the bytes of a JPEG or PNG, base64" if column[1] == PORTRAIT else "a number"
        message = f"{column[1]}: a row does not hold {wanted}"
    return _error(response.status_code, code, message)


def _error(status: int, code: str, message: str) -> Response:
    told = json.dumps({"error_code": code, "message": message})
    return Response(told, status_code=status, media_type="application/json")


def app() -> FastAPI:
    """Made by each process of the server."""
    return application(os.environ[FOLDER])
