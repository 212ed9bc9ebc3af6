"""The pages of the documentation, read block by block, and the code that makes the others."""

import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import markdown
import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs" / "generator"))


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    number: int
    language: str
    title: str
    text: str

    def __str__(self):
        return f"{self.page.name}-{self.number}"


@dataclass(frozen=True)
class Page:
    """A page of Markdown."""

    path: Path

    @property
    def text(self):
        return self.path.read_text(encoding="utf-8")

    @property
    def blocks(self):
        found = re.findall(
            r'^( *)```(\w*)(?: title="([^"\n]*)")?\n(.*?)^\1```$', self.text, re.M | re.S
        )
        return [
            Block(self.path, number, language, title, textwrap.dedent(text))
            for number, (_, language, title, text) in enumerate(found)
        ]

    def titled(self):
        """Title → text of the blocks that have one."""
        return {block.title: block.text for block in self.blocks if block.title}

    def __str__(self):
        return str(self.path.relative_to(ROOT))


PAGES = [Page(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]
BLOCKS = [block for page in PAGES for block in page.blocks]
EXECUTED = ROOT / "docs" / "writing-your-own.md"
"""The page that a test of its own goes through; its titled blocks are files."""


def pytest_generate_tests(metafunc):
    """A test that takes a ``page``, or a ``block`` of a language, is run for each there is."""
    for name in metafunc.fixturenames:
        if name == "page":
            metafunc.parametrize(name, PAGES, ids=str)
        elif name.endswith("_block"):
            found = [block for block in BLOCKS if block.language == name.removesuffix("_block")]
            metafunc.parametrize(name, found, ids=str)


@pytest.fixture(scope="session")
def root():
    """The top folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def executed():
    """The page that is gone through by a test of its own."""
    return Page(EXECUTED)


@pytest.fixture(scope="session")
def site_anchors():
    """A page's text → the places in it that the site can link to."""
    from mkdocs.config import load_config

    with (ROOT / "mkdocs.yml").open("rb") as file:
        config = load_config(file)
    config = config.plugins.on_config(config)

    def anchors(text):
        page = markdown.Markdown(
            extensions=config.markdown_extensions, extension_configs=config.mdx_configs
        ).convert(text)
        return set(re.findall(r'\bid="([^"]+)"', page))

    return anchors
