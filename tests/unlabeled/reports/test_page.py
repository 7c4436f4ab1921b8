import base64
import io
from html import unescape

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from unlabeled.evaluation.diagnosis import Finding
from unlabeled.reports.page import (
    LARGE_SIDE,
    Chart,
    Code,
    Findings,
    Folded,
    Link,
    Map,
    Prose,
    Section,
    Table,
    Tile,
    Tiles,
    picture,
    render,
    sprite,
)

EVIL = '<script>alert(1)</script>" onclick="alert(2)'
ADDRESS = "https://example.org/run?a=1&b=2"
CHART = Chart(Markup('<svg xmlns="http://www.w3.org/2000/svg"><circle r="1"/></svg>'), "one circle", "A caption.")


def random_image(channels=1, side=8, seed=0, height=None):
    return np.random.default_rng(seed).integers(0, 256, (channels, height or side, side), dtype=np.uint8)


def pixels_of(source):
    start, data = source.split(",")
    assert start in ("data:image/png;base64", "data:image/webp;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))


def everything(text="plain"):
    """A page with a block of each kind, `text` wherever there may be any."""
    tile = Tile(picture(random_image()), text, text, "wrong")
    tiles = Tiles([(text, [tile, tile]), ("", [tile])], text)
    finding = Finding(text, text, text, text, [((0,), text)])
    dots = Map([[0.0, 0.0], [1.0, 0.5]], [0, 1], [text, "owl"], [text, "an owl"], picture(random_image()), 2, 1, text)
    table = Table([text, "number"], [[text, (text, 1.5)], [Link(text, ADDRESS), 2]], text, sortable=True)
    findings = Findings([(finding, tiles)], [text], [(text, text)])
    blocks = [CHART, tiles, table, dots, Prose([text, text]), Code(text), findings]
    sections = [Section(text, blocks, text, "wide"), Section("Another", [Table(["a"], [[1]]), Findings([], [])])]
    return render(text, text, [(text, text)], sections)


def test_pictures_to_be_looked_at_by_themselves_are_larger(read_page):
    large = picture(random_image(side=400), LARGE_SIDE)
    assert pixels_of(large).shape[:2] == (LARGE_SIDE, LARGE_SIDE)
    page = read_page(render("t", "v", [], [Section("s", [Tiles([("", [Tile(large, "a")])], large=True)])]))
    assert page.all("figure", **{"class": "strip large"})


def test_a_page_with_every_kind_of_block_is_valid(read_page):
    page = read_page(everything(), [ADDRESS.replace("&", "&amp;")])
    assert page.all("html", lang="en") and page.all("meta", charset="utf-8")
    assert len(page.all("section")) == 2 and len(page.all("figure")) > 4
    assert "This file needs no network" in page.text


def test_markup_in_any_text_does_no_harm(read_page):
    html = everything(EVIL)
    page = read_page(html, [ADDRESS.replace("&", "&amp;")])
    assert "<script>alert" not in html and page.text.count("<script>alert(1)</script>") > 15
    assert not any("onclick" in each for _, each in page.tags)
    assert [each["data-words"] for each in page.all("circle") if "data-words" in each] == [EVIL, "an owl"]
    assert [each["alt"] for each in page.all("img")] == [EVIL] * 6


def test_the_verdict_and_the_facts_come_before_the_sections(read_page):
    page = read_page(render("a title", "It is worth it.", [("kNN", "93 %")], [Section("First", [Prose(["words"])])]))
    order = [page.text.index(each) for each in ("a title", "It is worth it.", "kNN", "93 %", "First", "words")]
    assert order[0] == 0 and order[1:] == sorted(order[1:])


def test_there_may_be_no_facts(read_page):
    assert not read_page(render("a", "b", [], [Section("c", [])])).all("dl")


def test_every_section_can_be_reached(read_page):
    titles = ["How many labels it saves", "digits, data 1a: every method", "Ähnlich & nah"]
    page = read_page(render("a", "b", [], [Section(title, [Prose(["c"])]) for title in titles]))
    anchors = [f"#{each['id']}" for each in page.all("section")]
    assert [each["href"] for each in page.all("a")] == [anchors[0], *anchors]


def test_a_chart_says_what_it_shows_to_those_who_do_not_see_it(read_page):
    page = read_page(everything(), [ADDRESS.replace("&", "&amp;")])
    assert page.all("div", **{"role": "img", "aria-label": "one circle"}) and "A caption." in page.text


def table_of(rows, **options):
    return render("a", "b", [], [Section("c", [Table(["x", "y"], rows, **options)])])


def test_a_table_sorts_by_the_number_and_shows_the_text(read_page):
    page = read_page(table_of([["a", ("90.1 ± 2", 0.901)], [Link("b", "b.html"), ("", "")]], sortable=True))
    assert [each["data-value"] for each in page.all("td")] == ["a", "0.901", "b", ""]
    assert "90.1 ± 2" in page.text and "0.901" not in page.text
    assert page.all("table", **{"class": "sortable"}) and len(page.all("button", type="button")) == 2


def test_a_table_that_does_not_sort_has_no_buttons(read_page):
    page = read_page(table_of([[1, 2]], caption="Two numbers."))
    assert not page.all("button") and not page.all("table", **{"class": "sortable"})
    assert page.all("div", role="region", **{"aria-label": "Two numbers."}) and len(page.all("th", scope="col")) == 2


def test_a_link_leads_where_it_says(read_page):
    html = table_of([[Link("a <run>", ADDRESS), 1]])
    page = read_page(html, [ADDRESS.replace("&", "&amp;")])
    assert page.all("a", href=ADDRESS) and "a <run>" in page.text and unescape(html).count(ADDRESS) == 1


def test_right_and_wrong_are_marked_by_more_than_colour(read_page):
    tiles = [Tile(picture(random_image()), "x", mark=mark) for mark in ("right", "wrong", "")]
    page = read_page(render("a", "b", [], [Section("c", [Tiles([("", tiles)])])]))
    marks = [each["class"].split()[1:] for each in page.all("figure") if each.get("class", "").startswith("tile")]
    assert marks == [["right"], ["wrong"], []] and "border-style: dashed" in page.html


def strip_of(*rows):
    return Section("c", [Tiles([(label, [Tile(source, "a", caption)]) for label, source, caption in rows])])


@pytest.mark.parametrize("side, tiny", [(8, True), (28, True), (32, False), (128, False)])
def test_tiny_images_have_crisp_edges_and_photographs_do_not(read_page, side, tiny):
    page = read_page(render("a", "b", [], [strip_of(("", picture(random_image(3, side)), "x"))]))
    assert bool(page.all("figure", **{"class": "strip tiny"})) == tiny
    assert 'img[src^="data:image/png"] { image-rendering: pixelated; }' in page.html


def test_a_row_is_as_wide_as_its_longest_row_has_to_be(read_page):
    tile = Tile(picture(random_image()), "a")
    page = read_page(render("a", "b", [], [Section("c", [Tiles([("", [tile] * 3), ("", [tile] * 5)])])]))
    assert page.all("figure", style="--tiles: 5")


def test_a_name_is_never_broken_and_can_be_read_whole(read_page):
    name = "t-shirt with/slash and_a_long_name"
    page = read_page(render("a", "b", [], [strip_of((name, picture(random_image()), f"{name} 0.98"))]))
    assert page.all("div", title=name, **{"class": "label unbroken"}) and page.all("figcaption", title=f"{name} 0.98")
    assert "<span>t-shirt</span> <span>with/slash</span>" in page.html


def test_a_long_word_of_a_table_may_be_broken_and_a_short_one_may_not(read_page):
    page = read_page(table_of([["a/path/" * 6, "longsleeve"]]))
    assert '<span class="long">a/path/' in page.html and ">longsleeve<" in page.html


def test_a_text_in_the_first_column_has_several_lines_and_a_name_has_one(read_page):
    page = read_page(table_of([["a text of many words " * 9, 1], ["a random encoder", 2], [("t " * 40, 1.0), 3]]))
    assert [each.get("class") for each in page.all("td")][::2] == ["text", None, "text"]


def test_a_long_table_scrolls_by_itself(read_page):
    short, long = (read_page(table_of([[i, i] for i in range(count)])) for count in (30, 200))
    assert long.all("div", **{"class": "scroll tall"}) and not short.all("div", **{"class": "scroll tall"})


def test_a_folded_table_is_hidden_until_it_is_asked_for(read_page):
    folded = Folded("All 2 parameters", Table(["x", "y"], [["a", 1], ["b", 2]]))
    page = read_page(render("a", "b", [], [Section("c", [folded])]))
    assert page.all("details") == [{}] and "All 2 parameters" in page.text and len(page.all("td")) == 4


def test_the_list_of_sections_counts_what_was_found(read_page):
    found = Findings([(Finding("r", "s", "t", "u"), None)] * 3, [])
    page = read_page(render("a", "b", [], [Section("Look out", [found]), Section("c", [])]))
    assert "Look out 3 c" in page.text


def test_the_dots_of_a_map_lie_where_its_points_are(read_page):
    dots = Map([[0.0, 0.0], [1.0, 1.0], [0.5, 0.25]], [0, 1, 0], ["cat", "dog"], ["a", "b", "c"], "data:,", 2, 2)
    circles = read_page(render("a", "b", [], [Section("c", [dots])])).all("circle")
    assert [(float(each["cx"]), float(each["cy"])) for each in circles] == [(20, 20), (980, 680), (500, 185)]
    assert [each["data-group"] for each in circles] == ["0", "1", "0"]
    assert circles[0]["fill"] == circles[2]["fill"] != circles[1]["fill"]


def test_a_map_has_a_button_for_each_of_many_classes(read_page):
    dots = Map([[0.0, 0.0]] * 40, list(range(40)), [f"class {i}" for i in range(40)], ["w"] * 40, "data:,", 7, 6)
    page = read_page(render("a", "b", [], [Section("c", [dots])]))
    assert [each["data-group"] for each in page.all("button")] == [str(i) for i in range(40)]


def test_findings_name_what_was_not_found(read_page):
    findings = Findings([], ["collapse", "leakage"], [("under-training", "nobody looked")])
    page = read_page(render("a", "b", [], [Section("c", [findings])]))
    assert "Looked for, and not found: collapse, leakage." in page.text
    assert "Cannot be told of this run: under-training: nobody looked." in page.text
    page = read_page(render("a", "b", [], [Section("c", [Findings([(Finding("r", "s", "t", "u"), None)], [])])]))
    assert "Looked for" not in page.text and "r s t u" in page.text


@pytest.mark.parametrize("side", [4, 8, 28])
def test_a_small_grey_picture_is_the_image_pixel_by_pixel(side):
    image = random_image(side=side)
    assert np.array_equal(pixels_of(picture(image)), image[0])


def test_a_small_colour_picture_is_the_image_pixel_by_pixel():
    image = random_image(3, 16)
    assert np.array_equal(pixels_of(picture(image)), image.transpose(1, 2, 0))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_larger_picture_is_nearly_the_image_and_no_png(channels):
    image = np.linspace(0, 255, channels * 48 * 48).astype(np.uint8).reshape(channels, 48, 48)
    source = picture(image)
    assert source.startswith("data:image/webp")
    shown = pixels_of(source).astype(int)
    assert shown.shape == (48, 48, 3) and np.abs(shown - image.transpose(1, 2, 0)).mean() < 6


def test_a_large_picture_is_scaled_down_and_keeps_its_shape():
    assert pixels_of(picture(random_image(3, 200))).shape == (128, 128, 3)
    assert pixels_of(picture(random_image(1, 200, height=100))).shape == (64, 128, 3)


@pytest.mark.parametrize("channels, shown", [(2, (8, 8)), (4, (8, 8, 3)), (13, (8, 8, 3))])
def test_channels_that_a_screen_has_no_colour_for_are_left_out(channels, shown):
    image = random_image(channels)
    pixels = pixels_of(picture(image))
    assert pixels.shape == shown and np.array_equal(pixels.reshape(8, 8, -1)[..., 0], image[0])


def test_a_picture_of_a_read_only_memory_map_is_the_same(tmp_path):
    np.save(tmp_path / "images.npy", random_image()[None])
    assert picture(np.load(tmp_path / "images.npy", mmap_mode="r")[0]) == picture(random_image())


@pytest.mark.parametrize("count, columns, rows", [(1, 1, 1), (2, 2, 1), (4, 2, 2), (5, 3, 2), (7, 3, 3)])
def test_a_sprite_holds_each_image_at_its_place(count, columns, rows):
    images = [random_image(seed=i) for i in range(count)]
    source, *shape = sprite(images, 8)
    sheet = pixels_of(source)
    assert shape == [columns, rows] and sheet.shape == (8 * rows, 8 * columns, 3)
    for i, image in enumerate(images):
        y, x = 8 * (i // columns), 8 * (i % columns)
        assert np.array_equal(sheet[y : y + 8, x : x + 8, 0], image[0])


def test_a_large_sprite_still_holds_each_image_at_its_place():
    shades = np.linspace(20, 235, 30).astype(np.uint8)
    source, columns, _ = sprite([np.full((3, 50, 50), shade) for shade in shades], 40)
    sheet = pixels_of(source)
    for i, shade in enumerate(shades):
        assert abs(int(sheet[40 * (i // columns) + 20, 40 * (i % columns) + 20, 0]) - int(shade)) < 6


def test_a_sprite_of_tiny_images_is_kept_pixel_by_pixel():
    source, columns, rows = sprite([random_image(seed=i) for i in range(9)])
    assert source.startswith("data:image/png") and pixels_of(source).shape == (24, 24, 3)


def test_a_sprite_of_nothing_is_a_sprite():
    source, columns, rows = sprite([], 8)
    assert (columns, rows) == (1, 1) and pixels_of(source).shape == (8, 8, 3)


def test_control_characters_of_names_are_shown():
    unseen = {chr(code) for code in [*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]}
    page = everything("\x1b[2J\x9b\u202egnp\nforged")
    assert unseen & set(page) == {"\n"} and "\nforged" not in page and r"\x1b[2J\x9b\u202egnp\nforged" in page
    drawn = Chart(Markup('<svg xmlns="http://www.w3.org/2000/svg">\n<text>\x1b[2J</text>\n</svg>'), "", "")
    assert "\n<text>\\x1b[2J</text>\n" in render("t", "v", [], [Section("s", [drawn])])
