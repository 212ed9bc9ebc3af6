"""What the README and the documentation show is what works."""

import re
import tomllib
from itertools import chain

import yaml

from sekd_plugin import criteria, divergences, proxies, thresholds
from sekd_plugin.toolkits.fairseq2.recipe_loading import load_recipe
from sekd_plugin.toolkits.fairseq2.sweeping.plan import planned_runs
from sekd_plugin.toolkits.fairseq2.sweeping.sweep_file import read_sweep

CHECKED_EVERYWHERE = {"python", "yaml", "toml", "sh"}
CHECKED_WHERE_EXECUTED = {"console", "text"}


def test_a_page_shows_only_what_some_test_checks(page, executed):
    languages = {block.language for block in page.blocks}
    allowed = CHECKED_EVERYWHERE
    if page == executed:
        allowed = allowed | CHECKED_WHERE_EXECUTED
    else:
        assert not page.titled(), "only that page's files are written and used"
    assert languages <= allowed
    assert page.text.count("```") == 2 * len(page.blocks), "a block that is not read as one"


def test_the_python_blocks_of_a_page_run_one_after_the_other(page):
    names = {"__name__": "documentation"}
    for block in page.blocks:
        if block.language == "python" and not block.title:
            exec(compile(block.text, str(block), "exec"), names)


def test_a_yaml_block_is_a_recipe_or_a_sweep_of_one(yaml_block, tmp_path, root, monkeypatch):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml_block.text, encoding="utf-8")
    if "rows" in yaml.safe_load(yaml_block.text):
        monkeypatch.chdir(root)
        sweep = read_sweep(file)
        for run in chain.from_iterable(planned_runs(sweep).values()):
            load_recipe(None, [run.recipe])
        return
    config = load_recipe(file, [])
    if not yaml_block.title:  # what a titled recipe names is made where that page is executed
        section = yaml.safe_load(yaml_block.text)["criterion"]
        assert config.criterion.name == section["name"]
        criteria.create(section, "criterion")


def test_a_toml_block_names_entry_points_that_are_looked_up(toml_block):
    groups = tomllib.loads(toml_block.text)["project"]["entry-points"]
    known = {registry.group for registry in (criteria, divergences, thresholds, proxies)}
    assert groups and set(groups) <= known


def test_links_between_pages_lead_somewhere_in_the_repository_and_on_the_site(page, site_anchors):
    from hooks import drawings

    for target in re.findall(r"\]\(([^)\s]+)\)", page.text):
        if "://" in target:
            continue
        place, _, anchor = target.partition("#")
        file = (page.path.parent / place).resolve() if place else page.path
        made = any(str(file).endswith(f"/docs/{name}") for name in drawings())
        assert made or file.exists(), target
        text = file.read_text(encoding="utf-8") if anchor and file.suffix == ".md" else ""
        if text and "." not in anchor and "generated:" not in text:
            headings = re.findall(r"^#+ (.+)$", text, re.M)
            assert anchor in {repository_anchor(heading) for heading in headings}, target
            assert file.name == "README.md" or anchor in site_anchors(text), target


def repository_anchor(heading):
    """How the hosts of repositories name a heading."""
    return re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-")
