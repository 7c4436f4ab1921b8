import re
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's 1797 digits as uint8 (N, 1, 8, 8), and their classes."""
    data = load_digits()
    return (data.images[:, None] * (255 / 16)).round().astype(np.uint8), data.target.astype(np.int64)


class Page(HTMLParser):
    """A page as a browser reads it: its tags with their attributes, its text, and what is wrong with it."""

    VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
    NOT_IN_P = {"div", "figure", "p", "ul", "ol", "dl", "table", "pre", "section", "h1", "h2", "h3"}

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.html, self.open, self.tags, self.words, self.wrong = html, [], [], [], []
        self.feed(html)
        self.close()
        self.wrong += [f"<{tag}> is never closed" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        if tag in self.NOT_IN_P and "p" in self.open:
            self.wrong.append(f"<{tag}> in <p>")
        self.handle_startendtag(tag, attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        if len(dict(attributes)) < len(attributes):
            self.wrong.append(f"<{tag}> has an attribute twice")
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag, **given):
        return [each for name, each in self.tags if name == tag and given.items() <= each.items()]


@pytest.fixture(scope="session")
def read_page():
    """Reads HTML as a `Page`, and stops at what is not valid, not accessible, or asks a network for something."""

    def read(html, addresses=()):
        page = Page(html)
        ids = [each["id"] for _, each in page.tags if "id" in each]
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        inner = re.findall(r'(?:href="#|url\(#)([^")]+)', html)
        assert html.startswith("<!doctype html>") and page.wrong == []
        assert len(ids) == len(set(ids)) and not any(re.search(r"\s", each) for each in ids)
        assert set(inner) <= set(ids)
        assert levels.count(1) == 1 == levels[0] and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
        assert all("alt" in each for each in page.all("img"))
        assert all(each["src"].startswith("data:image/") for each in page.all("img"))
        assert len(page.all("script")) == len(page.all("title")) == 1 and not page.all("link")
        assert not any(name.startswith("on") for _, each in page.tags for name in each)
        found = {each for each in re.findall(r"https?://[^\s\"'<>)]+", html) if "//www.w3.org/" not in each}
        assert found <= set(addresses)
        return page

    return read
