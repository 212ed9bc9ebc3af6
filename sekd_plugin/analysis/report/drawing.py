"""A chart before it is put into a page, or into a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sekd_plugin.analysis.report.chart import HEIGHT, WIDTH, figure
from sekd_plugin.analysis.report.markup import Markup, join, tag
from sekd_plugin.analysis.report.series import Series, legend, sample
from sekd_plugin.analysis.report.style import STYLE

_TITLE, _LINE = 34.0, 20.0


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A chart."""

    name: str
    """What its file is called, without an ending."""

    title: str
    """Its heading."""

    caption: str
    """What to know when reading it."""

    description: str
    """What is drawn, in words, for those who cannot see it."""

    parts: Sequence[Markup]
    """SVG, ``WIDTH`` wide."""

    series: Sequence[Series] = ()
    """The legend's entries."""

    height: float = HEIGHT
    """How high it is."""

    def figure(self) -> Markup:
        """The chart as a piece of a page that holds ``STYLE``."""
        key = legend(self.series) if self.series else Markup("")
        return figure(
            self.title, self.caption, self.description, self.parts, key, height=self.height
        )

    def file(self) -> str:
        """The chart as an SVG file that needs nothing else; light or dark as the viewer is."""
        entries = []
        for number, each in enumerate(self.series):
            y = _TITLE + self.height + number * _LINE
            entries.append(
                tag(
                    "g",
                    sample(each.style, faint=each.faint),
                    tag("text", each.name, x=38.0, y=10.0),
                    transform=f"translate(8 {y:g})",
                )
            )
        height = _TITLE + self.height + len(self.series) * _LINE + 8.0
        body = join(
            [
                tag("title", self.title),
                tag("desc", self.description),
                tag("style", STYLE),
                tag("rect", x=0, y=0, width=WIDTH, height=height, class_="sheet"),
                tag("text", self.title, x=8, y=20, class_="label"),
                tag("g", *self.parts, transform=f"translate(0 {_TITLE:g})"),
                *entries,
            ]
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" '
            f'width="{1.5 * WIDTH:g}" class="chart file" role="img">{body}</svg>\n'
        )
