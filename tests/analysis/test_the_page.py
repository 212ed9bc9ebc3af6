"""The page and the files beside it: one file, safe, readable, with the numbers it was given."""

import json
import re
import xml.etree.ElementTree as ElementTree
from importlib.resources import files
from itertools import pairwise

import pytest
import yaml
from html_reader import Reader
from made_up_analysis import NASTY, made_up_analysis

from sekd_plugin import criteria
from sekd_plugin.analysis.difficulty.charts import all_drawings, percent
from sekd_plugin.analysis.difficulty.figures import all_figures
from sekd_plugin.analysis.difficulty.page import json_in_html, render_page
from sekd_plugin.analysis.difficulty.result import summary
from sekd_plugin.analysis.difficulty.tables import criterion_yaml, start_yaml
from sekd_plugin.analysis.report.style import STYLE


@pytest.fixture(scope="module")
def figures():
    return all_figures(made_up_analysis())


@pytest.fixture(scope="module")
def text(figures):
    return render_page(figures)


@pytest.fixture(scope="module")
def page(text):
    return Reader(text)


def test_the_page_needs_nothing_from_outside(text, page):
    assert not re.search(r"https?:|@import|url\(", text)
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "source")
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    (policy,) = [a["content"] for t, a in page.tags if a.get("http-equiv")]
    assert policy.startswith("default-src 'none';")  # a browser refuses what would be fetched


def test_every_element_is_closed_and_no_text_becomes_markup(page):
    assert page.open == []
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert not [tag for tag, _ in page.tags if tag in ("b", "img")]
    shown = "".join(page.text)
    assert "␣<b>&amp;" in shown and "</script>" in shown  # pieces of the vocabulary


def test_the_page_holds_the_very_figures_of_the_json(figures, page):
    assert json.loads(page.data[0]) == json.loads(json.dumps(figures))


def test_data_cannot_end_its_element():
    found = json_in_html({"text": NASTY + "\u2028"})
    assert not set(found) & set("<>&\u2028")
    assert json.loads(found) == {"text": NASTY + "\u2028"}


def test_a_template_is_filled_once(figures, text):
    nasty = {**figures, "teacher": "{{script}}"}
    assert "the teacher {{script}}." in render_page(nasty)


def test_it_says_which_gamma_to_start_with(figures, page):
    shown = " ".join("".join(page.text).split())
    for each in figures["start"]:
        assert str(each["gamma"]) in shown
    assert f"Γ = {figures['reference']['gamma']} makes 20 % of the tokens hard" in shown
    assert "Of training pairs" in shown and "the same Γ makes fewer tokens hard" in shown
    assert "Left out: 2 target is empty." in shown


def test_the_recipes_section_can_be_used_as_it_stands(figures):
    for each in figures["start"]:
        section = yaml.safe_load(start_yaml(figures, each))["criterion"]
        made = criteria.create(section, "criterion")
        assert made.threshold.gamma == each["gamma"] and made.teacher_weight == 0.5
    for difficulty in ("no", {"name": "jensen_shannon", "config": {"beta": 0.25}}, "a.b:C", "ü"):
        text = criterion_yaml({"difficulty": difficulty})
        assert yaml.safe_load(text)["criterion"]["config"]["difficulty"] == difficulty


def test_the_terminal_is_told_the_same(figures):
    text = summary(figures)
    assert "the same Γ makes fewer tokens hard" in text
    assert yaml.safe_load(text[text.index("criterion:") :])["criterion"]["config"]["threshold"] == {
        "name": "fixed",
        "config": {"gamma": figures["reference"]["gamma"]},
    }
    assert all(str(each["gamma"]) in text for each in figures["start"])


def test_charts_say_in_words_what_they_show(figures, page):
    charts = [a for tag, a in page.tags if tag == "svg" and "role" in a]
    assert len(charts) == 11
    assert all(len(chart["aria-label"]) > 30 for chart in charts)
    names = [drawing.name for drawing in all_drawings(figures)]
    assert len(set(names)) == 11 and {"gamma", "histogram", "quantiles", "hard-share"} <= {*names}


def test_every_chart_is_an_svg_file_by_itself(figures):
    for drawing in all_drawings(figures):
        text = drawing.file()
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
        assert drawing.title in "".join(root.itertext())
        for each in drawing.series:
            assert each.name in "".join(root.itertext())


@pytest.mark.parametrize("checkpoints", [1, 2, 7])
def test_any_number_of_checkpoints_makes_a_page(checkpoints):
    page = Reader(render_page(all_figures(made_up_analysis(8, checkpoints=checkpoints))))
    assert page.open == []
    assert ("How hard tokens move over training" in page.text) == (checkpoints > 1)


def test_difficulties_without_a_bound_make_a_page():
    analysis = made_up_analysis(8, checkpoints=1)
    for values in analysis.table.difficulty.values():
        values.fill_(float("inf"))
    shown = "".join(Reader(render_page(all_figures(analysis))).text)
    assert "∞" in shown and "no finite Γ" in shown


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0 %"), (0.2, "20 %"), (1.0, "100 %"), (0.05, "5 %"), (0.0123, "1.2 %"),
     (0.0004, "0.04 %"), (1e-7, "< 0.001 %"), (None, "–")],
)  # fmt: skip
def test_shares_are_short(share, words):
    assert percent(share) == words


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_apart_by_lightness_and_read(scheme):
    """WCAG's contrast of text is 4.5; what differs in lightness needs no sense of colour."""
    folder = files("sekd_plugin.analysis.difficulty.page_files")
    light, dark = folder.joinpath("page.css").read_text(encoding="utf-8").split("@media", 1)
    colours = dict(re.findall(r"--(\w\d): (#\w{6})", light if scheme == "light" else dark))
    papers = re.findall(r"--paper: (#\w{6})", STYLE)
    paper = papers[scheme == "dark"]
    steps = [contrast(colours[f"l{level}"], paper) for level in range(1, 8)]
    assert steps == sorted(steps), "harder must stand out more"
    assert all(later / earlier > 1.1 for earlier, later in pairwise(steps))
    for level in range(1, 8):
        assert contrast(colours[f"l{level}"], colours[f"t{level}"]) >= 4.5, level


def test_hard_tokens_are_marked_by_more_than_colour():
    style = files("sekd_plugin.analysis.difficulty.page_files").joinpath("page.css").read_text()
    assert re.search(r"\.token\.is-hard \{ border-bottom: 3px solid", style)


def documented(root):
    """The keys that the page on the JSON names."""
    return set(re.findall(r"`([\w.\[\]]+)`", (root / "docs" / "analyze.md").read_text()))


def keys_of(value, place=""):
    """Every key at any depth, but those that are ids or a component's own settings."""
    if isinstance(value, list):
        for child in value[:2]:
            yield from keys_of(child, f"{place}[]")
    if isinstance(value, dict) and place.split(".")[-1] not in ("pieces", "config", "dropped"):
        for key, child in value.items():
            inner = f"{place}.{key}" if place else key
            yield inner
            yield from keys_of(child, inner)


def test_every_key_of_the_json_is_documented(figures, request):
    root = request.config.rootpath
    assert sorted(set(keys_of(figures)) - documented(root)) == []
