"""The review page: a local web page over the logs of runs, for reading every answer.

    from groupwise.evaluation.viewer import serve
    serve(["runs/my-run"])

    discover, scan         the logs below some folders; their lines
    index, store           all logs as DuckDB tables, kept up to date in the background
    queries, filters, overview   the answers to the page's requests
    reviews                a reviewer's marks and notes
    broken                 the first line of a run that cannot be read
    server, bundle         HTTP; the page as one file
    static                 the page itself

Listens on 127.0.0.1 and serves until interrupted. What it leaves out: the report as a file
(evaluation/report.py).
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path

from groupwise.rewards.errors import UserError

__all__ = ["serve", "serving"]

HOST = "127.0.0.1"


def serve(paths: Sequence[str | Path], port: int = 0, open_browser: bool = True) -> None:
    """Serves the review page of these runs until Ctrl-C; `port=0` takes a free one.

    Raises:
        UserError: a path does not exist, or the port is taken.
    """
    with serving(paths, port) as url:
        print(f"review page: {url}  (Ctrl-C ends it)", flush=True)
        if open_browser:
            webbrowser.open(url)
        end = threading.Event()
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, lambda *_: end.set())
        with contextlib.suppress(KeyboardInterrupt):
            end.wait()
        with contextlib.suppress(OSError):  # the terminal may be gone
            print("review page: closed", file=sys.stderr)


@contextlib.contextmanager
def serving(paths: Sequence[str | Path], port: int = 0) -> Iterator[str]:
    """The review page in the background, for as long as the `with` block lasts; yields its URL."""
    from groupwise.evaluation.viewer.index import Index  # DuckDB, pyarrow: not at start-up

    index = Index(paths)
    index.start()  # the logs are read while the server's libraries load
    try:
        listener = _listen(port)
        port = int(listener.getsockname()[1])
        import uvicorn  # not at start-up, and behind the thread that reads the logs

        from groupwise.evaluation.viewer.server import make_app  # Starlette: not at start-up

        config = uvicorn.Config(
            make_app(index, port), log_level="error", access_log=False, lifespan="off",
            server_header=False, ws="none", timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="server", daemon=True
        )
        thread.start()
        try:
            yield f"http://{HOST}:{port}/"
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            listener.close()
    finally:
        index.close()


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(64)  # from here on requests wait instead of failing
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or "a port is a number from 0 to 65535"
        raise UserError(f"port {port}: {reason}; choose another with --port") from None
    return listener
