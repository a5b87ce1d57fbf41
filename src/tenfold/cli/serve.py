"""The command serve."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from tenfold.cli.common import app, make_console, print_line
from tenfold.errors import DependencyError, TenfoldError

TOKEN_VARIABLE = "TENFOLD_TOKEN"


@app.command("serve")
def serve_command(
    model: Annotated[
        Path | None,
        Argument(metavar="[RUN|MODEL]", help="What predicts; default: the model in the box."),
    ] = None,
    host: Annotated[
        str,
        Option(
            "--host",
            metavar="ADDRESS",
            help="Default: this machine only. Any other, such as 0.0.0.0, asks for a token: that "
            f"in {TOKEN_VARIABLE}, or a new one that is printed.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, Option("--port", metavar="N", min=0, max=65535)] = 8000,
    name: Annotated[
        list[str] | None,
        Option("--name", metavar="HOST", help="A name that clients know it by; repeatable."),
    ] = None,
    behind_proxy: Annotated[
        bool,
        Option("--behind-proxy", help="A proxy on this machine names the clients."),
    ] = False,
    rate: Annotated[
        float | None,
        Option("--rate", metavar="R", min=0.001, help="Requests a second from each client."),
    ] = None,
    deadline: Annotated[
        float, Option("--deadline", metavar="S", min=0.01, help="Seconds for an answer.")
    ] = 10,
    grace: Annotated[
        int, Option("--grace", metavar="S", min=1, help="Seconds to finish when stopped.")
    ] = 10,
    workers: Annotated[
        int, Option("--workers", metavar="N", min=1, max=256, help="Processes.")
    ] = 1,
    collect: Annotated[
        Path | None,
        Option("--collect", metavar="FILE.csv", help="Keep digits that users correct, to train."),
    ] = None,
) -> None:
    """Serve a page to draw digits on, and an API. SIGTERM or Ctrl-C stops it."""
    console = make_console()
    try:
        from tenfold.serving.security import is_loopback
        from tenfold.serving.server import listen, serve
        from tenfold.serving.settings import ServerSettings
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tenfold"):
            raise
        raise DependencyError(
            f"this needs {error.name}, which is not installed: pip install 'tenfold[serve]'"
        ) from error

    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise TenfoldError(f"{TOKEN_VARIABLE}: expected ASCII without spaces")
    is_new = token is None and not is_loopback(host)
    if is_new:
        token = secrets.token_urlsafe(24)
    settings = ServerSettings(
        model=model,
        host=host,
        token=token,
        host_names=tuple(name or ()),
        rate=rate,
        behind_proxy=behind_proxy,
        collect=collect,
        grace_s=grace,
        deadline_s=deadline,
    )
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        query = f"/?token={token}" if is_new else "/"
        print_line(console, f"http://{shown}:{listener.getsockname()[1]}{query}")
        if is_new:
            print_line(console, f"clients send this token: Authorization: Bearer {token}")
        print_line(console, "Ctrl-C stops it")
        # uvicorn raises the signal again when all is done; by then it was obeyed.
        with suppress(KeyboardInterrupt):
            serve(settings, listener, workers)
