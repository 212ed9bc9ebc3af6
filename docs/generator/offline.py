"""Whether a built page fetches anything from another host."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

_FETCHING = {
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
    ("audio", "src"),
    ("object", "data"),
    ("embed", "src"),
    ("link", "href"),
}
_IN_STYLE = re.compile(r"(?:url\(\s*|@import\s+)['\"]?((?:https?:)?//[^'\")\s]+)")
# These links say where a page belongs; a browser fetches nothing for them.
_NAMING_LINKS = {"canonical", "alternate", "prev", "next", "license", "author"}


def fetched_from_elsewhere(site: Path) -> list[str]:
    """``page: address`` for everything that a browser would fetch from another host."""
    found: list[str] = []
    for page in sorted(site.rglob("*.html")):
        reader = _Reader()
        reader.feed(page.read_text(encoding="utf-8"))
        found += [f"{page.relative_to(site)}: {address}" for address in reader.addresses]
    for sheet in sorted(site.rglob("*.css")):
        addresses = _IN_STYLE.findall(sheet.read_text(encoding="utf-8"))
        found += [f"{sheet.relative_to(site)}: {address}" for address in addresses]
    return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "link" and values.get("rel") in _NAMING_LINKS:
            return
        for name, value in attributes:
            address = value or ""
            if (tag, name) in _FETCHING and re.match(r"(https?:)?//", address):
                self.addresses.append(address)
            elif name == "style":
                self.addresses += _IN_STYLE.findall(address)
