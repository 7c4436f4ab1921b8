"""The scan for secrets of what a run is about to send: found ones stop it before anything has left."""

import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.parameters import flatten
from unlabeled.errors import UnlabeledError
from unlabeled.runtime.masking import masked

PLUGINS = (
    "ArtifactoryDetector",
    "AWSKeyDetector",
    "AzureStorageKeyDetector",
    "Base64HighEntropyString",
    "CloudantDetector",
    "DiscordBotTokenDetector",
    "GitHubTokenDetector",
    "GitLabTokenDetector",
    "HexHighEntropyString",
    "IbmCloudIamDetector",
    "IbmCosHmacDetector",
    "JwtTokenDetector",
    "KeywordDetector",
    "MailchimpDetector",
    "NpmDetector",
    "OpenAIDetector",
    "PrivateKeyDetector",
    "PypiTokenDetector",
    "SendGridDetector",
    "SlackDetector",
    "SoftlayerDetector",
    "SquareOAuthDetector",
    "StripeDetector",
    "TelegramBotTokenDetector",
    "TwilioKeyDetector",
)
"""Those of detect-secrets, without public IP addresses; passwords in addresses are found by the function that masks."""
FILTERS = (
    "detect_secrets.filters.allowlist.is_line_allowlisted",
    "detect_secrets.filters.heuristic.is_indirect_reference",
    "detect_secrets.filters.heuristic.is_likely_id_string",
    "detect_secrets.filters.heuristic.is_potential_uuid",
    "detect_secrets.filters.heuristic.is_sequential_string",
    "detect_secrets.filters.heuristic.is_templated_secret",
)
"""Its filters, without those that let a password pass because it begins with `$` or has no letter in it."""
PREFIXES = re.compile(
    r"\b(?:hf_[A-Za-z]{30,}|AIza[\w-]{35}|ya29\.[\w-]{20,}|sk-(?:ant|proj)-[\w-]{20,}|github_pat_\w{22,}"
    r"|dop_v1_[0-9a-f]{64}|xapp-\d-\w+-\d+-\w+|GOCSPX-[\w-]{28}|dapi[0-9a-f]{32})"
)
"""Tokens that say by their first letters whose they are, and that detect-secrets does not know yet."""
TOKEN_BY_KEY = re.compile(
    r"""(?<![A-Za-z])(?:access|api|auth|bearer|refresh|personal|private|session|bot)[_-]?tokens?["']?
    \s*[:=]\s*["']?[^\s"'({$<]{8,}""",
    re.IGNORECASE | re.VERBOSE,
)
"""A token by its key: detect-secrets' list of keys has none."""
SYMBOL_PASSWORD = re.compile(
    r"""(?:passw(?:or)?d|pwd|secret)\w*["']?\s*[:=]\s*["']?[$!%^~+=?@-](?!\{)[^\s"']{3,}""", re.IGNORECASE
)
"""A password in configuration that begins with a symbol: detect-secrets looks for letters and digits."""
UNQUOTED_VALUE = re.compile(r"""^(\s*(?:- +)?(?:[\w.-]+\s*[:=]\s+|- +))([^\s'"#{\[|>&*!][^\s'"#]*)(.*)$""")
"""A value without quotes in YAML or TOML: entropy is measured of what stands in quotes."""
QUOTED_PATH = re.compile(r"""["'](?:/|\.{1,2}/|~|[a-z][a-z0-9_.-]*/)[\w./~=+-]*["']""")
"""A path in quotes: long ones are as random as keys, by their entropy."""
PRAGMA = re.compile(r"#\s*pragma: ?allowlist[ -]secret")
CONFIGURATION = {".yml", ".yaml", ".dvc", ".toml"}
MIN_SECRET_DIGITS = 6
"""Digits from which on a number may be a secret."""
HELP = (
    "move it to conf/local/credentials.yml or into a variable of the environment; where it is none, write "
    "`# pragma: allowlist secret` at the end of its line in code or conf/"
)


class Line(NamedTuple):
    """Something to scan: `where` names it to the user, `configuration` says that its texts need no quotes."""

    where: str
    text: str
    configuration: bool


class Finding(NamedTuple):
    """`where` a secret stands, and which `kind` it is of; never the secret itself."""

    where: str
    kind: str


def check_no_secrets(lines: Iterable[Line]) -> None:
    """Raises UnlabeledError that names each place and kind of secret, and what to do."""
    if found := find_secrets(lines):
        named = "; ".join(f"{each.where}: {each.kind}" for each in found)
        raise UnlabeledError(f"a secret would leave with this run's record ({named}): {HELP}")


def find_secrets(lines: Iterable[Line]) -> list[Finding]:
    """The secrets in these lines, in their order; a line that says so by detect-secrets' pragma has none."""
    lines = [line for line in lines if re.search(r"\w{3}", line.text) and not PRAGMA.search(line.text)]
    kinds: list[set[str]] = [_by_name(line) for line in lines]
    for configuration, name in ((False, "code.py"), (True, "configuration.properties")):
        numbers = [number for number, line in enumerate(lines) if line.configuration == configuration]
        for number, kind in _detected(name, [_in_quotes(lines[number]) for number in numbers]):
            kinds[numbers[number]].add(kind)
    return [Finding(line.where, ", ".join(sorted(found))) for line, found in zip(lines, kinds, strict=True) if found]


def lines_of_patch(patch: str) -> Iterator[Line]:
    """Everything that a patch of git's carries: new lines, and old ones that are gone or stand beside them."""
    name, number, configuration = "", None, False
    for line in patch.split("\n"):
        if line.startswith(("--- ", "+++ ")) and number is None:
            if line[4:] != "/dev/null":
                name = line[6:].rstrip("\t")
                configuration = Path(name).suffix in CONFIGURATION
        elif line.startswith("diff --git "):
            number = None
        elif match := re.match(r"@@ -\d+(?:,\d+)? \+(\d+)", line):
            number = int(match[1])
        elif number is not None and line[:1] in ("+", "-", " "):
            gone = " (removed)" if line[0] == "-" else ""
            yield Line(f"{name}, line {number}{gone}", line[1:], configuration)
            number += line[0] != "-"


def lines_of_file(name: str, content: str) -> Iterator[Line]:
    """The lines of a file by its name and what it holds."""
    for number, text in enumerate(content.split("\n"), start=1):
        yield Line(f"{name}, line {number}", text, Path(name).suffix in CONFIGURATION)


def lines_of_command(command: str) -> Iterator[Line]:
    """A command of the shell's, word by word."""
    for word in command.split():
        yield Line("the command", word, True)


def marked_lines(project: Path) -> str:
    """The lines of the configuration that say that they hold no secret, by detect-secrets' pragma."""
    files = sorted(file for ending in ("yml", "yaml") for file in (project / "conf").glob(f"**/*.{ending}"))
    lines = [line for file in files for line in file.read_text(errors="replace").splitlines()]
    return "\n".join(line for line in lines if PRAGMA.search(line))


def lines_of_parameters(parameters: dict[str, Any], marked: str = "") -> Iterator[Line]:
    """The texts and long numbers among nested parameters, once for each key and value.

    Args:
        marked: Values that stand in this text are no secrets.
    """
    seen = set()
    for name, value in flatten(parameters):
        for each in value if isinstance(value, list | tuple) else [value]:
            key = name.rpartition(".")[2]
            text = str(each) if isinstance(each, str | int) else ""
            may_be = isinstance(each, str) or len(text) >= MIN_SECRET_DIGITS
            if text and may_be and text not in marked and (key, text) not in seen:
                seen.add((key, text))
                yield Line(f"the parameter {name}", f"{key}: {json.dumps(text, ensure_ascii=False)}", True)


def _by_name(line: Line) -> set[str]:
    kinds = {
        "Password in an address": masked(line.text) != line.text,
        "Token": PREFIXES.search(line.text) or TOKEN_BY_KEY.search(line.text),
        "Password": line.configuration and SYMBOL_PASSWORD.search(line.text),
    }
    return {kind for kind, found in kinds.items() if found}


def _in_quotes(line: Line) -> str:
    text = UNQUOTED_VALUE.sub(r'\1"\2"\3', line.text) if line.configuration else line.text
    return QUOTED_PATH.sub('""', text)


def _detected(name: str, lines: list[str]) -> Iterator[tuple[int, str]]:
    """What detect-secrets finds in a file of this name: the number of the line, from 0, and the kind."""
    from detect_secrets.core.scan import scan_file  # a third of a second
    from detect_secrets.settings import transient_settings

    used = {"plugins_used": [{"name": each} for each in PLUGINS], "filters_used": [{"path": each} for each in FILTERS]}
    with tempfile.TemporaryDirectory() as folder, transient_settings(used):
        file = Path(folder, name)
        # The first line is no INI file's, as which detect-secrets would else read it, without its comments.
        file.write_text("\n".join(["=", *(" ".join(line.splitlines()) for line in lines)]))
        for each in scan_file(str(file)):
            yield each.line_number - 2, each.type
