"""Every command that a page shows exists, and takes what it is given."""

import re
import shlex
import tomllib
from argparse import ArgumentParser
from importlib import import_module

import pytest

from sekd_plugin.cli import COMMANDS, main
from sekd_plugin.toolkits.fairseq2.recipe_loading import load_recipe

ALLOWED_AS_THEY_ARE = {("source", ".venv/bin/activate")}


def commands_of(text):
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def test_the_commands_of_a_shell_block_are_understood(sh_block, root):
    for words in commands_of(sh_block.text):
        check_command(words, root)


def test_the_commands_of_a_console_block_are_understood(console_block, root):
    shown = re.findall(r"^\$ (.*)$", console_block.text, re.M)
    assert shown
    for line in shown:
        check_command(shlex.split(line), root)


def check_command(words, root):
    if tuple(words) not in ALLOWED_AS_THEY_ARE:
        CHECKS[words[0]](words[1:], root)


def check_make(words, root):
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    for word in words:
        variable, is_set, _ = word.partition("=")
        wanted = rf"\$\((if \$\()?{variable}\b" if is_set else rf"^{word}:"
        assert re.search(wanted, makefile, re.MULTILINE), word


def check_sekd(words, root):
    command, *rest = words
    assert command in COMMANDS
    parser = ArgumentParser(prog=f"sekd {command}", allow_abbrev=False, exit_on_error=False)
    module = import_module(f"sekd_plugin.commands.{command.replace('-', '_')}")
    module.add_arguments(parser)
    options = parser.parse_args(rest)
    if command == "train":
        load_recipe(None, options.config or [])  # refuses unknown keys and wrong types


def check_torchrun(words, root):
    from torch.distributed.run import get_args_parser

    options = get_args_parser().parse_args(words)
    assert options.module and options.training_script == "sekd_plugin"
    check_sekd(options.training_script_args, root)


def check_pip(words, root):
    from pip._internal.commands import create_command

    command, *rest = words
    assert command == "install"
    options, requirements = create_command("install").parse_args(rest)
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    for requirement in [*requirements, *(options.editables or [])]:
        for extra in re.findall(r"(?:^\.|^sekd-plugin)\[(.+)\]$", requirement):
            assert set(extra.split(",")) <= set(extras["optional-dependencies"])


def check_pytest(words, root):
    assert [word for word in words if word.startswith("-")] in ([], ["-q"])


CHECKS = {
    "make": check_make,
    "sekd": check_sekd,
    "torchrun": check_torchrun,
    "pip": check_pip,
    "pytest": check_pytest,
}


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        ("sekd train runs/x --config criterion.nmae=word_kd", "nmae"),
        ("sekd train runs/x --config regime.num_steps=many", "num_steps"),
        ("sekd trian runs/x", "trian"),
        ("sekd list --jsno", "jsno"),
        ("make dmeo", "dmeo"),
        ("make experiments TBALES=beta", "TBALES"),
        ("pip install --upgarde sekd-plugin", "upgarde"),
        ("pip install sekd-plugin[tset]", "tset"),
    ],
)
def test_a_mistaken_command_is_found(words, mistake, root, capsys):
    with pytest.raises((Exception, SystemExit)) as caught:
        check_command(words.split(), root)
    assert mistake in str(caught.value) + capsys.readouterr().err


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"sekd {command}" in capsys.readouterr().out


def test_an_unknown_command_is_one_line_with_the_nearest(capsys):
    assert main(["trian"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err
