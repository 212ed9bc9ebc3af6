"""A prompt template has one gap and no surprises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekd_plugin.corpus import PromptTemplate
from sekd_plugin.errors import ConfigError

WORDS = st.text(st.characters(exclude_characters="{}"))


@given(WORDS, WORDS, st.text())
def test_the_source_goes_into_the_gap_as_it_is(before: str, after: str, source: str) -> None:
    template = PromptTemplate(before + "{source}" + after)
    assert template.prompt(source) == before + source + after


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Translate:", "'Translate:' has {source} 0 times; it must stand there once"),
        ("{source}{source}", "has {source} 2 times; it must stand there once"),
        ("{src}", "'{src}' is not allowed in '{src}'; the one placeholder is {source}"),
        ("{source} {}", "'{}' is not allowed in"),
        ("{source} }", "'}' is not allowed in"),
        ("{{source}}", "'{' is not allowed in"),
        ("{source!r}", "'{source!r}' is not allowed in"),
    ],
)
def test_another_template_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PromptTemplate(text)
    assert caught.value.key == "template"
    assert said in str(caught.value)
