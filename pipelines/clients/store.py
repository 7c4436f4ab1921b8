"""The tracking URI of MLflow: of an SQLite database, another database or a server."""

import socket
from pathlib import Path
from urllib.parse import unquote, urlparse

from unlabeled.errors import UnlabeledError

SQLITE = "sqlite:///"
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""The usual port of each kind of server."""


def database_uri(file: Path) -> str:
    """The URI of an SQLite database.

    In a URI `%` begins an escape and `?` ends the path (SQLAlchemy's `engine/url.py`), so both are escaped. For an
    escaped path after `sqlite:///` MLflow would create a folder with the escapes in its name
    (`_make_parent_dirs_if_sqlite` in its `store/db/utils.py`). It does not where the URI names the driver.
    """
    path = str(file).replace("%", "%25").replace("?", "%3F")
    return (SQLITE if path == str(file) else "sqlite+pysqlite:///") + path


def anchored_uri(uri: str, project: Path) -> str:
    """The URI, with a relative path of an SQLite database resolved from the project."""
    relative = uri.startswith(SQLITE) and not uri.startswith(f"{SQLITE}/")
    return database_uri(project / unquote(uri.removeprefix(SQLITE))) if relative else uri


def check_reachable(uri: str) -> None:
    """Raises UnlabeledError where the server does not answer, or a database's folder or driver is missing.

    MLflow itself asks a database ten times, which takes 100 seconds.
    """
    if uri.startswith("sqlite"):
        from sqlalchemy.engine import make_url  # its import takes 0.5 s

        folder = Path(make_url(uri).database or "").parent
        if not folder.is_dir() and str(folder) not in uri:
            raise UnlabeledError(
                f"the MLflow database {uri} would lie in {folder}, which does not exist: in a URI write % as %25 and ? "
                f"as %3F"
            )
        return
    address = urlparse(uri)
    kind = address.scheme.partition("+")[0]
    if kind not in ("http", "https"):
        _check_driver(uri)
    port = address.port or PORTS.get(kind)
    if not (address.hostname and port):  # a socket in a folder, or no server that is known
        return
    try:
        socket.create_connection((address.hostname, port), timeout=5).close()
    except OSError as error:
        raise UnlabeledError(
            f"the MLflow server at {uri} does not answer ({error}): start it, or unset MLFLOW_TRACKING_URI to track in "
            f"this project's own mlflow.db"
        ) from error


def _check_driver(uri: str) -> None:
    """Raises UnlabeledError where the Python package of a database is not installed."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ArgumentError:  # not a database URI: MLflow reads it, or reports it
        return
    except ModuleNotFoundError as error:
        raise UnlabeledError(f"the MLflow database {uri} needs the Python package {error.name}: install it") from error
