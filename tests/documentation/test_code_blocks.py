"""What the README and the documentation show is what works."""

import re
from pathlib import Path

import pytest
import yaml

from sekd_plugin import criteria
from sekd_plugin.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language):
    for page in PAGES:
        found = re.findall(
            rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        )
        for number, block in enumerate(found):
            yield pytest.param(block, id=f"{page.name}-{number}")


@pytest.mark.parametrize("block", list(blocks("python")))
def test_a_python_block_runs(block):
    exec(compile(block, "documentation", "exec"), {"__name__": "documentation"})


@pytest.mark.parametrize("block", list(blocks("yaml")))
def test_a_yaml_block_is_a_recipe_with_known_keys(block):
    from sekd_plugin.toolkits.fairseq2.schema import check_section
    from sekd_plugin.toolkits.fairseq2.sections import TrainingConfig

    content = yaml.safe_load(block)
    check_section(content, TrainingConfig, "")
    criteria.create(content["criterion"], "criterion")


@pytest.mark.parametrize("block", list(blocks("sh")))
def test_a_shell_block_uses_commands_and_targets_there_are(block):
    makefile = (ROOT / "Makefile").read_text()
    for line in block.splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), line
        elif words[0] == "sekd":
            assert words[1] in COMMANDS, line
        elif words[0] == "torchrun":
            assert "-m sekd_plugin train" in line
        else:
            assert words[:2] == ["pip", "install"], line


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"sekd {command}" in capsys.readouterr().out


def test_an_unknown_command_is_one_line_with_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err
