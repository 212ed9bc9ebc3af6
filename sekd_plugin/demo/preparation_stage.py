"""The stage that makes clean splits and the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from sekd_plugin.checksum import sha256_of_file
from sekd_plugin.demo.layout import Layout
from sekd_plugin.demo.recipe import DemoRecipe, positive_int, section
from sekd_plugin.demo.settings import DemoSettings
from sekd_plugin.demo.stage import Stage
from sekd_plugin.errors import ConfigError
from sekd_plugin.new_file import replace_file


def preparation_stage(
    settings: DemoSettings, teacher: DemoRecipe, layout: Layout, most_sentences: int | None
) -> Stage:
    """``sekd prepare`` on the corpus, its vocabulary as large as the teacher's recipe says.

    With ``most_sentences`` only the first so many of valid and test are used.

    Raises:
        ConfigError: the teacher's recipe lacks vocabulary size or prompt.
        DataError: a corpus file is missing.
    """
    model = section(teacher.content, "model", teacher.file)
    overrides = section(model, "config_overrides", teacher.file)
    size = positive_int(overrides, "vocab_size", teacher.file, "model.config_overrides.")
    template = section(teacher.content, "dataset", teacher.file).get("template")
    if not isinstance(template, str):
        raise ConfigError("dataset.template", f"is {template!r} in {teacher.file}; it must be text")
    files = {"train": settings.train, "valid": settings.valid, "test": settings.test}
    checksums = {split: sha256_of_file(file) for split, file in files.items()}
    action: Callable[[], None] | None = None
    if most_sentences is not None:
        whole = {split: files[split] for split in ("valid", "test")}
        cut = {split: layout.root / "first_sentences" / f"{split}.jsonl" for split in whole}
        files |= cut

        def action() -> None:
            for split, file in whole.items():
                _write_first_lines(file, cut[split], most_sentences)

    return Stage(
        name="prepare",
        action=action,
        commands=(
            (
                "prepare",
                str(layout.corpus),
                "--train",
                str(files["train"]),
                "--valid",
                str(files["valid"]),
                "--test",
                str(files["test"]),
                "--vocabulary-size",
                str(size),
                "--template",
                template,
            ),
        ),
        folder=layout.corpus,
        made_from={
            "corpus": checksums,
            "vocabulary_size": size,
            "template": template,
            "sentences": most_sentences,
        },
        results=(layout.vocabulary, *map(layout.split, ("train", "valid", "test"))),
        expected_seconds=settings.expected_seconds.get("prepare", 0.0),
    )


def _write_first_lines(source: Path, target: Path, count: int) -> None:
    with source.open(encoding="utf-8") as lines:
        replace_file(target, "".join(islice(lines, count)))
