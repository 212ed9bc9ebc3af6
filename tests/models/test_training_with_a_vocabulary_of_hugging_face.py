"""A recipe whose vocabulary is a folder, as Hugging Face saves one."""

import json
from pathlib import Path

from model_families import settings_of

from sekd_plugin.cli import main


def vocabulary(folder: Path) -> str:
    return f"tokenizer={json.dumps({'family': 'qwen', 'path': str(folder)})}"


def test_it_trains_teaches_from_a_cache_and_translates(workshop, vocabulary_folder):
    common = (vocabulary(vocabulary_folder), settings_of("model", "qwen2"))
    workshop.train("teacher", *common)
    path = workshop.checkpoint("teacher", 8)
    learning = ("criterion.name=self_evolution_kd", *common)
    teacher = settings_of("teacher", "qwen2", path)
    cache = workshop.folder / "cache"
    assert main(["cache-teacher", str(cache), *workshop.arguments((*learning, teacher))]) == 0
    workshop.train("student", *learning, f"teacher_cache.path={cache}")
    text = workshop.folder / "text.txt"
    text.write_text("open the file\n", encoding="utf-8")
    run = str(workshop.folder / "student")
    assert main(["translate", "--model", run, "--input", str(text)]) == 0
    assert workshop.capture()[0].count("\n") == 1
