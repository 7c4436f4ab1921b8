"""Masking of passwords in addresses before a text is shown, logged or recorded."""

import re

HIDDEN = "***"
USER = re.compile(
    r"""(?P<scheme>\b[a-z][\w+.-]{0,30}://)
    (?P<user>[^\s/@:"'<>`]*)
    (?:(?P<password>:(?!\d{1,5}[/?#])(?:[^\s"'<>`@]{0,1024}+@)+)|(?P<token>[^\s/"'<>`]*)@)""",
    re.IGNORECASE | re.VERBOSE,
)
"""User, password or token before the host of an address. A password may contain `@` and `/`, as for SQLAlchemy;
`:5000/` is a port."""
NAMED = re.compile(
    r"""(?P<name>(?:[?&;][\w.%-]{0,60}(?:passw(?:or)?d|pwd|secret|token|signature|credential|api_?key|access_?key)[\w.-]{0,60}
    |[?&;](?:sig|key|auth|pass|code)
    |(?<![\w-])[\w.-]{0,60}(?:password|passwd|pwd))=)
    (?P<value>[^\s&;,"'<>`)]+)""",
    re.IGNORECASE | re.VERBOSE,
)
"""A password, key, token or signature with its name: in the query of an address, or in a list of `name=value`."""


def masked(text: str) -> str:
    """The text with `***` for each password, token and signature in its addresses.

    `postgresql://user:***@host` keeps its user; `https://***@host` does not, as the user may be a token;
    `ssh://git@host` stays unchanged.
    """
    return NAMED.sub(rf"\g<name>{HIDDEN}", USER.sub(_without_password, text))


def _without_password(match: re.Match) -> str:
    if match["password"]:
        return f"{match['scheme']}{match['user']}:{HIDDEN}@"
    is_token = match["token"] or match["scheme"].lower() in ("http://", "https://")
    return f"{match['scheme']}{HIDDEN}@" if is_token else match[0]
