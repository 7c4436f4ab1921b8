"""Signs versions, so that a user recognises the versions that they made on this machine.

A client of the tracking server can write any tag, including `mlflow.user`, and a client of the artifact store any file.
The signature is over the digests of a version's files, by a key that never leaves the user's configuration folder.
"""

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pipelines.clients.git import COMMIT, DIRTY
from pipelines.registry.versions import DIGESTS, WEIGHTS

SIGNATURE = "signature"
"""The tag with the signature of a version."""
SIGNED = (DIGESTS, WEIGHTS, COMMIT, DIRTY, "method")
"""The signed tags: they decide what a reproduction runs, and what its result is compared with."""


def signature(tags: Mapping[str, str]) -> dict[str, str]:
    """The tag that signs a version with these tags; empty where the key cannot be stored."""
    try:
        return {SIGNATURE: _sign(tags, _key())}
    except OSError:  # the home folder is read-only: the version counts as another user's
        return {}


def is_mine(tags: Mapping[str, str]) -> bool:
    """Whether this user has signed these tags on this machine."""
    with suppress(OSError):
        return hmac.compare_digest(tags.get(SIGNATURE, "").encode(), _sign(tags, _key()).encode())
    return False


def _sign(tags: Mapping[str, str], key: bytes) -> str:
    content = json.dumps([tags.get(name) for name in SIGNED]).encode()
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _key() -> bytes:
    """The user's key, created at first use."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "unlabeled"
    file = folder / "signing.key"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as aside:  # readable by the user alone from its first byte on
            aside.write(secrets.token_bytes(32))
            aside.flush()
            with suppress(FileExistsError):  # another run has created it meanwhile
                os.link(aside.name, file)
    return file.read_bytes()
