"""The corpus that ships with the project."""

from __future__ import annotations

import pytest

from sekd_plugin.corpus import read_pairs
from sekd_plugin.recipes_folder import recipes_folder

SIZES = {"train": 20_000, "valid": 1000, "test": 1000}


@pytest.mark.parametrize("direction", ["en-de", "en-cs"])
def test_the_sample_is_whole_and_no_test_sentence_is_trained_on(direction: str) -> None:
    folder = recipes_folder() / "corpus" / direction
    sources = {}
    for split, size in SIZES.items():
        pairs = list(read_pairs(folder / f"{split}.jsonl"))
        assert len(pairs) == size
        assert all(pair.source.strip() and pair.target.strip() for pair in pairs)
        sources[split] = {"".join(pair.source.split()).lower() for pair in pairs}
    assert not sources["train"] & (sources["test"] | sources["valid"])


def test_every_origin_is_attributed_and_its_licence_is_there() -> None:
    folder = recipes_folder() / "corpus"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for split in SIZES:
        origins = {
            pair.source
            for pair in read_pairs(
                folder / "en-de" / f"{split}.jsonl", source_field="source", target_field="tgt"
            )
        }
        assert origins == {"libreoffice-help", "homeassistant"}
        assert all(f"`{origin}`" in readme for origin in origins)
    for name, title in (
        ("MPL-2.0", "Mozilla Public License Version 2.0"),
        ("Apache-2.0", "Apache License"),
    ):
        assert f"LICENSES/{name}.txt" in readme
        assert title in (folder / "LICENSES" / f"{name}.txt").read_text(encoding="utf-8")
