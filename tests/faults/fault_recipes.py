"""Two hundred malformed recipes, generated from the schema: each is one line that names the key."""

import math
from collections import Counter

import pytest
import yaml
from fairseq2.runtime.dependency import get_dependency_resolver
from malformed_recipes import KINDS, mistakes

from sekd_plugin.errors import SekdError
from sekd_plugin.toolkits.fairseq2.preflight import check_recipe
from sekd_plugin.toolkits.fairseq2.recipe_loading import load_recipe

COUNT, SEED, BY_COMMAND = 200, 17, 10


def complaint(file):
    """What is said about a recipe, and the exit code; None where there is nothing to say."""
    try:
        check_recipe(load_recipe(file, []), get_dependency_resolver())
    except SekdError as error:
        return str(error), error.exit_code
    except Exception as error:  # what the command would end with as a traceback
        return f"{type(error).__name__}: {error}", 1
    return None


def fault_two_hundred_malformed_recipes(workshop, figure):
    recipe = yaml.safe_load(workshop.recipe.read_text())
    assert complaint(workshop.recipe) is None
    file = workshop.folder / "malformed.yaml"
    failures = []
    kinds = Counter()
    for mistake in mistakes(recipe, COUNT, SEED):
        file.write_text(yaml.safe_dump(mistake.recipe))
        said = complaint(file)
        kinds[mistake.kind] += 1
        if said is None:
            failures.append(f"{mistake}: accepted: {value_at(mistake)!r}")
        elif said[1] != 2 or "\n" in said[0] or not named(mistake.key, said[0]):
            failures.append(f"{mistake}: said {said}")
    assert not failures, "\n".join(failures)
    assert len(kinds) == len(KINDS)
    counted = ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
    figure(f"{COUNT} recipes ({counted}): each one line with its key, exit code 2")


@pytest.mark.timeout(600)
def fault_some_of_them_by_the_command_itself(workshop, figure):
    recipe = yaml.safe_load(workshop.recipe.read_text())
    for mistake in mistakes(recipe, COUNT, SEED)[:: COUNT // BY_COMMAND + 1]:
        workshop.recipe.write_text(yaml.safe_dump(mistake.recipe))
        process = workshop.start("run")
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 2, (str(mistake), said)
        assert len(said.splitlines()) == 1, (str(mistake), said)
        assert said.startswith("sekd train: ")
        assert named(mistake.key, said.removeprefix("sekd train: "))
        assert not (workshop.folder / "run").exists()
    figure(f"{BY_COMMAND} by the command: one line, exit code 2, nothing written")


def named(key, said):
    """Whether a line begins with the key, or with a part of what stands there."""
    return said.startswith((f"{key}:", f"{key}."))


def value_at(mistake):
    place = mistake.recipe
    for name in mistake.key.split("."):
        try:
            place = place[int(name)] if isinstance(place, list) else place[name]
        except (KeyError, TypeError):
            return "nothing there"
    return "nan" if isinstance(place, float) and math.isnan(place) else place
