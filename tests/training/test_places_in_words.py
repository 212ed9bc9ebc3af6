"""A sentence's place is said with its file and line, and a page of them is not."""

from pathlib import Path

from sekd_plugin.toolkits.fairseq2.faults.places import in_words


def test_files_are_named_with_their_lines():
    places = [(Path("a.jsonl"), 3), (Path("b.jsonl"), 1), (Path("a.jsonl"), 7)]
    assert in_words(places) == "a.jsonl, line 3, 7; b.jsonl, line 1"


def test_of_very_many_lines_the_first_are_named_and_the_others_counted():
    said = in_words((Path("a.jsonl"), line) for line in range(1, 101))
    assert said.startswith("a.jsonl, line 1, 2, 3") and said.endswith(", 19, 20 and 80 more")
    assert in_words((Path("a.jsonl"), line) for line in range(1, 21)).endswith(", 19, 20")
