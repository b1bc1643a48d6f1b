"""`icface studio [MODEL ...]`."""

import secrets
from collections.abc import Sequence

from icface.errors import IcfaceError
from icface.words import pip_install
from orchestration.commands import parse
from orchestration.config import StudioJob
from orchestration.devices import device_asked
from orchestration.terminal import Reporter


def main(argv: Sequence[str]) -> None:
    job = parse(StudioJob, argv, "studio")
    try:
        from icface.studio.server import serve
    except ModuleNotFoundError as error:
        raise IcfaceError(f"the page needs {error.name}: {pip_install('fastapi', 'uvicorn')}") from None
    from orchestration.studio import resolvers

    device = device_asked(job.gpu)
    token = secrets.token_urlsafe(18) if job.auth == "generate" else job.auth
    with Reporter(plain=True) as reporter:
        serve(resolvers(job), job.host, job.port, token, device, reporter.say)
