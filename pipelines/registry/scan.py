"""Scans the record of a run for secrets before it is sent to MLflow; a finding stops the run."""

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
"""Plugins of detect-secrets, without the one for public IPs. `masked` finds passwords in URLs instead of a plugin."""
FILTERS = (
    "detect_secrets.filters.allowlist.is_line_allowlisted",
    "detect_secrets.filters.heuristic.is_indirect_reference",
    "detect_secrets.filters.heuristic.is_likely_id_string",
    "detect_secrets.filters.heuristic.is_potential_uuid",
    "detect_secrets.filters.heuristic.is_sequential_string",
    "detect_secrets.filters.heuristic.is_templated_secret",
)
"""Filters of detect-secrets, without those that ignore passwords that begin with `$` or have no letter."""
PREFIXES = re.compile(
    r"\b(?:hf_[A-Za-z]{30,}|AIza[\w-]{35}|ya29\.[\w-]{20,}|sk-(?:ant|proj)-[\w-]{20,}|github_pat_\w{22,}"
    r"|dop_v1_[0-9a-f]{64}|xapp-\d-\w+-\d+-\w+|GOCSPX-[\w-]{28}|dapi[0-9a-f]{32})"
)
"""Tokens with a known prefix that detect-secrets does not know."""
TOKEN_BY_KEY = re.compile(
    r"""(?<![A-Za-z])(?:access|api|auth|bearer|refresh|personal|private|session|bot)[_-]?tokens?["']?
    \s*[:=]\s*["']?[^\s"'({$<]{8,}""",
    re.IGNORECASE | re.VERBOSE,
)
"""A token after a key such as `api_token`, which detect-secrets' list of keys lacks."""
SYMBOL_PASSWORD = re.compile(
    r"""(?:passw(?:or)?d|pwd|secret)\w*["']?\s*[:=]\s*["']?[$!%^~+=?@-](?!\{)[^\s"']{3,}""", re.IGNORECASE
)
"""A password in configuration that begins with a symbol, which detect-secrets does not match."""
UNQUOTED_VALUE = re.compile(r"""^(\s*(?:- +)?(?:[\w.-]+\s*[:=]\s+|- +))([^\s'"#{\[|>&*!][^\s'"#]*)(.*)$""")
"""A value without quotes in YAML or TOML. It is quoted, as detect-secrets measures the entropy of quoted text."""
QUOTED_PATH = re.compile(r"""["'](?:/|\.{1,2}/|~|[a-z][a-z0-9_.-]*/)[\w./~=+-]*["']""")
"""A path in quotes. It is removed, as long paths have as much entropy as keys."""
PRAGMA = re.compile(r"#\s*pragma: ?allowlist[ -]secret")
CONFIGURATION = {".yml", ".yaml", ".dvc", ".toml"}
MIN_SECRET_DIGITS = 6
"""Smallest number of digits of a number that may be a secret."""
HELP = (
    "move it to conf/local/credentials.yml or into a variable of the environment; where it is none, write "
    "`# pragma: allowlist secret` at the end of its line in code or conf/"
)


class Line(NamedTuple):
    """A line to scan: its place in words, its text, and whether it is configuration, whose texts need no quotes."""

    where: str
    text: str
    configuration: bool


class Finding(NamedTuple):
    """The place and the kind of a secret, never the secret itself."""

    where: str
    kind: str


def check_no_secrets(lines: Iterable[Line]) -> None:
    """Raises UnlabeledError where the lines hold secrets, with the place and kind of each, and the remedy."""
    if found := find_secrets(lines):
        named = "; ".join(f"{each.where}: {each.kind}" for each in found)
        raise UnlabeledError(f"a secret would be published ({named}): {HELP}")


def find_secrets(lines: Iterable[Line]) -> list[Finding]:
    """The secrets in these lines, in order. Lines with detect-secrets' pragma are skipped."""
    lines = [line for line in lines if re.search(r"\w{3}", line.text) and not PRAGMA.search(line.text)]
    kinds: list[set[str]] = [_by_name(line) for line in lines]
    for configuration, name in ((False, "code.py"), (True, "configuration.properties")):
        numbers = [number for number, line in enumerate(lines) if line.configuration == configuration]
        for number, kind in _detected(name, [_in_quotes(lines[number]) for number in numbers]):
            kinds[numbers[number]].add(kind)
    return [Finding(line.where, ", ".join(sorted(found))) for line, found in zip(lines, kinds, strict=True) if found]


def lines_of_patch(patch: str) -> Iterator[Line]:
    """All lines that a git patch holds: added, removed and context lines."""
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
    """The lines of a file, from its name and content."""
    for number, text in enumerate(content.split("\n"), start=1):
        yield Line(f"{name}, line {number}", text, Path(name).suffix in CONFIGURATION)


def lines_of_command(command: str) -> Iterator[Line]:
    """The words of a shell command, as lines."""
    for word in command.split():
        yield Line("the command", word, True)


def marked_lines(project: Path) -> str:
    """The lines of the configuration with detect-secrets' pragma, which states that they hold no secret."""
    files = sorted(file for ending in ("yml", "yaml") for file in (project / "conf").glob(f"**/*.{ending}"))
    lines = [line for file in files for line in file.read_text(errors="replace").splitlines()]
    return "\n".join(line for line in lines if PRAGMA.search(line))


def lines_of_parameters(parameters: dict[str, Any], marked: str = "") -> Iterator[Line]:
    """The texts and long numbers among nested parameters, once for each key and value.

    Args:
        marked: Text whose values are not scanned, as from `marked_lines`.
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
    """The findings of detect-secrets in a file of this name, as number of the line, from 0, and kind."""
    from detect_secrets.core.scan import scan_file  # its import takes 0.3 s
    from detect_secrets.settings import transient_settings

    used = {"plugins_used": [{"name": each} for each in PLUGINS], "filters_used": [{"path": each} for each in FILTERS]}
    with tempfile.TemporaryDirectory() as folder, transient_settings(used):
        file = Path(folder, name)
        # The first line is invalid in an INI file: detect-secrets would otherwise read one, and skip its comments.
        file.write_text("\n".join(["=", *(" ".join(line.splitlines()) for line in lines)]))
        for each in scan_file(str(file)):
            yield each.line_number - 2, each.type
