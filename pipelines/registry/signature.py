"""Whose version it is: a tag that only this user, on this machine, can have written.

Whoever writes to the tracking server writes any tag, `mlflow.user` too, and whoever writes to the artifact store writes
any file. A version is signed with a key that never leaves the user's folder of settings, by the digests of its files.
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
"""The tag of a version."""
SIGNED = (DIGESTS, WEIGHTS, COMMIT, DIRTY, "method")
"""The tags that a signature is of: what a reproduction runs, and what it is compared with."""


def signature(tags: Mapping[str, str]) -> dict[str, str]:
    """The tag that says that this user has made a version of these tags; none where no key can be kept."""
    try:
        return {SIGNATURE: _sign(tags, _key())}
    except OSError:  # a home that cannot be written to: the version counts as somebody else's
        return {}


def is_mine(tags: Mapping[str, str]) -> bool:
    """Whether this user has signed a version of these tags, on this machine."""
    with suppress(OSError):
        return hmac.compare_digest(tags.get(SIGNATURE, "").encode(), _sign(tags, _key()).encode())
    return False


def _sign(tags: Mapping[str, str], key: bytes) -> str:
    content = json.dumps([tags.get(name) for name in SIGNED]).encode()
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _key() -> bytes:
    """The user's key, made where there is none."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "unlabeled"
    file = folder / "signing.key"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as aside:  # nobody else may read it, from its first byte on
            aside.write(secrets.token_bytes(32))
            aside.flush()
            with suppress(FileExistsError):  # another run was faster
                os.link(aside.name, file)
    return file.read_bytes()
