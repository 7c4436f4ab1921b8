"""A page of sections with charts, pictures, tables and text, in one HTML file that works offline."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import ClassVar, Literal

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from unlabeled.evaluation.diagnosis import Finding
from unlabeled.runtime.legible import legible

TILE_SIDE = 128
"""Largest side, in pixels, of a picture in a row of pictures."""
LARGE_SIDE = 256
"""Largest side, in pixels, of a picture that is shown alone."""
MAP_SIDE = 64
"""Largest side, in pixels, of a picture on a map."""
CLASS_COLOURS = (
    "#4477aa",
    "#d9596a",
    "#228833",
    "#b8860b",
    "#2a9d9d",
    "#9a6fb0",
    "#888888",
    "#c2571a",
    "#7f5539",
    "#5c7cfa",
)
"""Colours of classes on a map, whose points also name their class."""
TINY_BELOW = 32
"""Image side, in pixels, below which an image is stored losslessly as PNG, and enlarged with crisp edges."""
PNG, WEBP = "data:image/png;base64,", "data:image/webp;base64,"
LONG_WORD = 24
"""Characters above which a word in a table, such as a path or a digest, may be broken."""
MAX_UNBROKEN = 60
"""Characters above which the first cell of a row, such as a text, may have several lines."""
MAX_TABLE_ROWS = 30
"""Rows above which a table scrolls by itself."""


@dataclass(frozen=True)
class Chart:
    """A drawing as SVG, with a description for people who cannot see it."""

    kind: ClassVar[str] = "chart"
    svg: Markup
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Tile:
    """A picture as a data URL; `mark` is "right", "wrong", "asked" (a query for which others are found) or empty."""

    source: str
    alt: str
    caption: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Tiles:
    """Rows of pictures, each with a label."""

    kind: ClassVar[str] = "tiles"
    rows: list[tuple[str, list[Tile]]]
    caption: str = ""
    large: bool = False

    @property
    def tiny(self) -> bool:
        """Whether all pictures are so small that they are enlarged with crisp edges."""
        return all(tile.source.startswith(PNG) for _, row in self.rows for tile in row)

    @property
    def labelled(self) -> bool:
        return any(label for label, _ in self.rows)

    @property
    def longest(self) -> int:
        """Number of pictures in the longest row."""
        return max((len(row) for _, row in self.rows), default=1)


@dataclass(frozen=True)
class Link:
    """A text that links to an address."""

    text: str
    address: str


@dataclass(frozen=True)
class Table:
    """A table; its cells are texts, numbers or links, or pairs of a text and the number to sort by."""

    kind: ClassVar[str] = "table"
    header: list[str]
    rows: list[list]
    caption: str = ""
    sortable: bool = False

    @property
    def tall(self) -> bool:
        """Whether the table scrolls by itself, so that the page does not grow with it."""
        return len(self.rows) > MAX_TABLE_ROWS


@dataclass(frozen=True)
class Folded:
    """A table that is hidden until its summary is clicked."""

    kind: ClassVar[str] = "folded"
    summary: str
    table: Table


@dataclass(frozen=True)
class Map:
    """Points in a plane, each with a picture, in classes that can be highlighted.

    Attributes:
        points: Shape (N, 2), each coordinate in [0, 1].
        groups: Index into `names` for each point.
        words: Text for each point.
        sprite: All pictures in one, `columns` a row, as a data URL.
    """

    kind: ClassVar[str] = "map"
    points: list[list[float]]
    groups: list[int]
    names: list[str]
    words: list[str]
    sprite: str
    columns: int
    rows: int
    caption: str = ""


@dataclass(frozen=True)
class Prose:
    """Paragraphs of text."""

    kind: ClassVar[str] = "prose"
    paragraphs: list[str]


@dataclass(frozen=True)
class Code:
    """Text as in a terminal."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Findings:
    """Findings of the rules, each with its pictures, the names of the rules without a finding, and of those that cannot
    be applied with the reason."""

    kind: ClassVar[str] = "findings"
    found: list[tuple[Finding, Tiles | None]]
    fine: list[str]
    undecided: list[tuple[str, str]] = field(default_factory=list)


def percent(share: float) -> tuple[str, float]:
    """A percentage as a cell of a table, sorted by the number."""
    return f"{100 * share:.1f}", share


Block = Chart | Tiles | Table | Folded | Map | Prose | Code | Findings


@dataclass(frozen=True)
class Section:
    """A part of a page under its own heading."""

    title: str
    blocks: Sequence[Block]
    lead: str = ""
    layout: Literal["wide", "halves", "quarters"] = "halves"
    anchor: str = field(init=False)

    @property
    def warnings(self) -> int:
        """Number of findings in the section, which the table of contents shows beside its title."""
        return sum(len(block.found) for block in self.blocks if isinstance(block, Findings))

    def __post_init__(self):
        object.__setattr__(self, "anchor", "".join(c if c.isalnum() else "-" for c in self.title.lower()))


def render(title: str, verdict: str, facts: list[tuple[str, str]], sections: list[Section]) -> str:
    """The page as HTML.

    Args:
        verdict: Text at the top.
        facts: Key numbers with their names, below the verdict.
    """
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return _template().render(title=title, verdict=verdict, facts=facts, sections=sections, made=made)


def picture(image: np.ndarray, most: int = TILE_SIDE) -> str:
    """A uint8 image (C, H, W) as a data URL, scaled down to at most `most` pixels a side."""
    made = _pillow(image, most)
    return _address(made, lossless=max(made.size) < TINY_BELOW)


def sprite(images: list[np.ndarray], side: int = MAP_SIDE) -> tuple[str, int, int]:
    """Square uint8 images (C, H, W) side by side as a data URL, with the numbers of columns and rows.

    Each has `side` pixels a side, or the first image's side where that is smaller.
    """
    side = min(side, *images[0].shape[1:]) if images else side
    columns = max(1, math.ceil(math.sqrt(len(images))))
    rows = max(1, math.ceil(len(images) / columns))
    sheet = Image.new("RGB", (columns * side, rows * side))
    for i, image in enumerate(images):
        sheet.paste(_pillow(image, side).resize((side, side)), (i % columns * side, i // columns * side))
    return _address(sheet, lossless=side < TINY_BELOW), columns, rows


def _pillow(image: np.ndarray, most: int) -> Image.Image:
    """The image for Pillow, scaled down; channels beyond three are left out."""
    channels = 3 if len(image) >= 3 else 1
    pixels = np.asarray(image)[:channels].transpose(1, 2, 0)
    made = Image.fromarray(np.ascontiguousarray(pixels if channels == 3 else pixels[..., 0]))
    if max(made.size) > most:
        made.thumbnail((most, most))
    return made


def _address(image: Image.Image, lossless: bool) -> str:
    buffer = io.BytesIO()
    if lossless:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "WEBP", quality=80)
    return (PNG if lossless else WEBP) + base64.b64encode(buffer.getvalue()).decode()


@cache
def _template():
    environment = Environment(
        loader=PackageLoader("unlabeled.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_legible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    environment.filters["shown"] = _shown
    environment.filters["sorts"] = _sorts
    environment.filters["is_long"] = lambda cell: len(str(_content(cell))) > MAX_UNBROKEN
    return environment.get_template("page.html.j2", globals={"colours": CLASS_COLOURS})


def _legible(value: object) -> object:
    """The value of an expression of the page's template, with invisible characters as escapes. Line ends of the
    project's own markup, such as drawings, stay."""
    if isinstance(value, Markup):
        return Markup("\n").join(Markup(legible(line)) for line in value.split("\n"))
    return legible(value) if isinstance(value, str) else value


def _unbroken(text: str) -> Markup:
    """Text that breaks only between words: a browser would also break after the hyphen of "t-shirt"."""
    words = legible(text).split(" ")
    return Markup(" ").join(word if word.isalnum() else Markup("<span>{}</span>").format(word) for word in words)


def _shown(cell: object) -> object:
    """The content of a cell, with long words marked, as these may be broken."""
    if isinstance(cell, Link):
        return Markup('<a href="{}">{}</a>').format(cell.address, legible(cell.text))
    words = legible(str(_content(cell))).split(" ")
    long = Markup('<span class="long">{}</span>')
    return Markup(" ").join(long.format(word) if len(word) > LONG_WORD else word for word in words)


def _content(cell: object) -> object:
    """What a cell shows: its text, number or link's text."""
    return cell.text if isinstance(cell, Link) else cell[0] if isinstance(cell, tuple) else cell


def _sorts(cell: object) -> object:
    if isinstance(cell, Link):
        return cell.text
    return cell[1] if isinstance(cell, tuple) else cell
