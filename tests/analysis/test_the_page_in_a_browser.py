"""The page in headless Chromium: its scripts run, and a view follows from its address."""

import re
from html import unescape

import pytest
from headless_chromium import document_of, needs_chromium
from made_up_analysis import NASTY, made_up_analysis

from sekd_plugin.analysis.difficulty.figures import all_figures
from sekd_plugin.analysis.difficulty.page import render_page

pytestmark = needs_chromium

HANDLED = """<script>
addEventListener("load", () => {
  const tokens = document.querySelectorAll(".pair .token");
  const note = (name) => {
    document.body.dataset[name] = document.getElementById("detail").textContent;
  };
  tokens[1].focus();
  const key = (name) => document.activeElement.dispatchEvent(
    new KeyboardEvent("keydown", { key: name, bubbles: true }));
  key("ArrowRight");
  key("ArrowRight");
  key("ArrowLeft");
  note("keyed");
  key("Escape");
  document.body.dataset.hidden = String(document.getElementById("detail").hidden);
  tokens[0].dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
  note("hovered");
  tokens[1].click();
  note("touched");
  document.querySelector(".sortable th:nth-child(4) button").click();
  document.body.dataset.wide = String(document.documentElement.scrollWidth <= innerWidth);
});
</script></body>"""


@pytest.fixture(scope="module")
def figures():
    return all_figures(made_up_analysis(2000, checkpoints=2))


@pytest.fixture(scope="module")
def page(figures, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "analysis.html"
    file.write_text(render_page(figures), encoding="utf-8")
    return file


def shown_lines(document):
    return [int(line) for line in re.findall(r"dev\.jsonl:(\d+) ·", document)]


def part(document, name):
    """The text of the element of this id."""
    (found,) = re.findall(rf'<(\w+) id="{name}"[^>]*>(.*?)</\1>', document, re.S)
    return re.sub(r"<[^>]+>", "", found[1])


def test_sentences_are_drawn_a_page_at_a_time_and_text_stays_text(figures, page):
    document = document_of(page)
    assert shown_lines(document) == list(range(1, 26))
    tokens = re.findall(r'<span class="token[^"]*" tabindex="(?:0|-1)"', document)
    assert len(tokens) == sum(len(item["words"]) for item in figures["shown"]["items"][:25])
    assert part(document, "page") == "page 1 of 80"
    assert part(document, "count") == "2,000 of 2,000 sentences"
    assert "<title>Difficulty: kd@step_20</title>" in document  # no sentence has changed it
    assert NASTY.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in document


def test_a_view_is_sorted_and_filtered_as_its_address_says(figures, page):
    gamma = {each["ratio"]: each["gamma"] for each in figures["columns"][1]["hard"]}[0.05]
    document = document_of(page, "#sort=difficulty&hard=1&ratio=0.05&column=1&page=2")

    def mean(item):
        return sum(item["difficulty"][1]) / len(item["words"])

    items = figures["shown"]["items"]
    kept = [item for item in items if max(item["difficulty"][1]) > gamma]
    expected = [item["line"] for item in sorted(kept, key=mean, reverse=True)]
    assert shown_lines(document) == expected[25:50]
    assert part(document, "count") == f"{len(kept):,} of 2,000 sentences"
    on_page = {item["line"]: item for item in items}
    hard = sum(
        value > gamma for line in expected[25:50] for value in on_page[line]["difficulty"][1]
    )
    assert len(re.findall(r'class="token[^"]*is-hard[^"]*" tabindex', document)) == hard


def test_a_word_and_a_text_filter_too(figures, page):
    document = document_of(page, "#word=5&text=SOURCE%201&sort=length&direction=up")
    kept = [
        item
        for item in figures["shown"]["items"]
        if 5 in item["words"] and "source 1" in item["source"]
    ]
    expected = [item["line"] for item in sorted(kept, key=lambda item: len(item["words"]))]
    assert shown_lines(document) == expected[:25] and len(expected) > 25
    assert part(document, "word").startswith("with the piece s")


def test_a_token_answers_to_keys_pointer_and_touch_and_the_page_fits_a_phone(
    figures, page, tmp_path
):
    scripted = tmp_path / "handled.html"
    scripted.write_text(page.read_text(encoding="utf-8").replace("</body>", HANDLED))
    document = document_of(scripted, width=390)
    (body,) = re.findall(r"<body([^>]*)>", document)
    found = {name: unescape(text) for name, text in re.findall(r'data-(\w+)="([^"]*)"', body)}

    item, pieces = figures["shown"]["items"][0], figures["shown"]["pieces"]
    count = len(item["words"])
    assert count > 4
    assert f"token 3 of {count}" in found["keyed"]  # from the second, twice right and once left
    assert found["hidden"] == "true"
    assert f"token 1 of {count}" in found["hovered"]
    assert f"token 2 of {count}" in found["touched"]
    for model in ("teacher", "student"):
        for word in item[model]["words"][2]:
            assert pieces[str(word)].replace(" ", "␣") in found["keyed"]
    for name in ("forward_kl", "reverse_kl", "total_variation", "p(gold)", "H(p)"):
        assert name in found["keyed"]

    assert found["wide"] == "true"
    (rows,) = re.findall(r'class="wide tall sortable".*?<tbody>(.*?)</tbody>', document, re.S)
    shares = [float(share) for share in re.findall(r"<td>([\d.]+) %</td>", rows)]
    assert shares == sorted(shares, reverse=True) and len(shares) == len(figures["often_hard"])
