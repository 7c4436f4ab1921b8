"""A page of evidence: sections of charts, pictures, tables and words, in one HTML file that needs no network."""

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
"""Pixels a side that a picture in a row of pictures has at most."""
LARGE_SIDE = 256
"""Pixels a side that a picture has at most which is looked at by itself."""
MAP_SIDE = 64
"""Pixels a side that a picture of a map has at most."""
GROUPS = ("#4477aa", "#d9596a", "#228833", "#b8860b", "#2a9d9d", "#9a6fb0", "#888888", "#c2571a", "#7f5539", "#5c7cfa")
"""Of classes in a map, which also say their name."""
TINY_BELOW = 32
"""Pixels a side under which an image is kept pixel by pixel, as PNG, and enlarged with crisp edges."""
PNG, WEBP = "data:image/png;base64,", "data:image/webp;base64,"
LONG_WORD = 24
"""Characters above which a word of a table may be broken: a path or a digest."""
TALL = 30
"""Rows above which a table scrolls by itself."""


@dataclass(frozen=True)
class Chart:
    """A drawing as SVG, with what it shows in words for those who do not see it."""

    kind: ClassVar[str] = "chart"
    svg: Markup
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Tile:
    """A picture as a data address; `mark` is "right", "wrong", "asked" (others are found for it) or nothing."""

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
        """Whether every picture has so few pixels that it is enlarged with crisp edges."""
        return all(tile.source.startswith(PNG) for _, row in self.rows for tile in row)

    @property
    def labelled(self) -> bool:
        return any(label for label, _ in self.rows)

    @property
    def longest(self) -> int:
        """Pictures in the longest row."""
        return max((len(row) for _, row in self.rows), default=1)


@dataclass(frozen=True)
class Link:
    """Text that leads elsewhere."""

    text: str
    address: str


@dataclass(frozen=True)
class Table:
    """Cells are text, numbers or links, or a pair of a text and the number to sort it by."""

    kind: ClassVar[str] = "table"
    header: list[str]
    rows: list[list]
    caption: str = ""
    sortable: bool = False

    @property
    def tall(self) -> bool:
        """Whether it scrolls by itself, so that the page does not grow with it."""
        return len(self.rows) > TALL


@dataclass(frozen=True)
class Folded:
    """A table that is hidden until its summary is clicked."""

    kind: ClassVar[str] = "folded"
    summary: str
    table: Table


@dataclass(frozen=True)
class Map:
    """Points in a plane, each with a picture, in classes that can be picked out.

    Attributes:
        points: Shape (N, 2), each coordinate in [0, 1].
        groups: Of each point, an index into `names`.
        words: What to say of each point.
        sprite: All pictures in one, `columns` a row, as a data address.
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
    """Paragraphs."""

    kind: ClassVar[str] = "prose"
    paragraphs: list[str]


@dataclass(frozen=True)
class Code:
    """Text as a terminal has it."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Findings:
    """What the rules found, each with its pictures, and the names of those that found nothing."""

    kind: ClassVar[str] = "findings"
    found: list[tuple[Finding, Tiles | None]]
    fine: list[str]


def percent(share: float) -> tuple[str, float]:
    """A cell of a table that is sorted by the number."""
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
        """Findings in it, which the list of sections says beside its title."""
        return sum(len(block.found) for block in self.blocks if isinstance(block, Findings))

    def __post_init__(self):
        object.__setattr__(self, "anchor", "".join(c if c.isalnum() else "-" for c in self.title.lower()))


def render(title: str, verdict: str, facts: list[tuple[str, str]], sections: list[Section]) -> str:
    """The page as HTML.

    Args:
        verdict: On top of it.
        facts: Numbers that matter, each with its name; below the verdict.
    """
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return _template().render(title=title, verdict=verdict, facts=facts, sections=sections, made=made)


def picture(image: np.ndarray, most: int = TILE_SIDE) -> str:
    """A uint8 image (C, H, W) as a data address, scaled down to at most so many pixels a side."""
    made = _pillow(image, most)
    return _address(made, lossless=max(made.size) < TINY_BELOW)


def sprite(images: list[np.ndarray], side: int = MAP_SIDE) -> tuple[str, int, int]:
    """Square uint8 images (C, H, W) beside each other as a data address, with its columns and rows.

    Each has `side` pixels a side, or as many as the first image where that is fewer.
    """
    side = min(side, *images[0].shape[1:]) if images else side
    columns = max(1, math.ceil(math.sqrt(len(images))))
    rows = max(1, math.ceil(len(images) / columns))
    sheet = Image.new("RGB", (columns * side, rows * side))
    for i, image in enumerate(images):
        sheet.paste(_pillow(image, side).resize((side, side)), (i % columns * side, i // columns * side))
    return _address(sheet, lossless=side < TINY_BELOW), columns, rows


def _pillow(image: np.ndarray, most: int) -> Image.Image:
    """Channels beyond three are left out: a screen has no colour for them."""
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
    return environment.get_template("page.html.j2", globals={"colours": GROUPS})


def _legible(value: object) -> object:
    """What an expression of the page puts into it. Lines end in what the project itself has written, as drawings."""
    if isinstance(value, Markup):
        return Markup("\n").join(Markup(legible(line)) for line in value.split("\n"))
    return legible(value) if isinstance(value, str) else value


def _unbroken(text: str) -> Markup:
    """Text that breaks between words alone: a browser would also break behind the hyphen of "t-shirt"."""
    words = legible(text).split(" ")
    return Markup(" ").join(word if word.isalnum() else Markup("<span>{}</span>").format(word) for word in words)


def _shown(cell: object) -> object:
    """What a cell says, with long words marked: these may be broken."""
    if isinstance(cell, Link):
        return Markup('<a href="{}">{}</a>').format(cell.address, legible(cell.text))
    words = legible(str(cell[0] if isinstance(cell, tuple) else cell)).split(" ")
    long = Markup('<span class="long">{}</span>')
    return Markup(" ").join(long.format(word) if len(word) > LONG_WORD else word for word in words)


def _sorts(cell: object) -> object:
    if isinstance(cell, Link):
        return cell.text
    return cell[1] if isinstance(cell, tuple) else cell
