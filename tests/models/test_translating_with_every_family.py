"""Caches, windows and batches change nothing: a translation is a loop over the whole sentence."""

import pytest
import torch
from fairseq2.device import CPU
from fairseq2.gang import create_fake_gangs
from fairseq2.models import ModelFamily
from fairseq2.nn import BatchLayout
from fairseq2.runtime.dependency import get_dependency_resolver
from fairseq2.utils.structured import StandardValueConverter
from model_families import FAMILIES

from sekd_plugin.toolkits.fairseq2.decoding import translate_prompts

END, PAD, ROOM = 2, 3, 20
PROMPTS = [[4 + (7 * n + m) % 290 for m in range(1 + 3 * n)] for n in range(7)]
"""Of 1 to 19 words; a window has 8."""


def make_model(kind):
    """A tiny untrained model with decided opinions, whose translations end."""
    name, shape = FAMILIES[kind]
    family = get_dependency_resolver().resolve(ModelFamily, key=name)
    config = StandardValueConverter().structure({**shape, "num_layers": 3}, family.config_kls)
    torch.manual_seed(4)
    gangs = create_fake_gangs(CPU)
    model = family.create_new_model(config, gangs, torch.float32, False, False).double().eval()
    with torch.no_grad():
        model.final_proj.weight *= 20.0
        model.final_proj.weight[END] *= 2.0
    return model


@torch.no_grad()
def greedy_loop(model, prompt):
    """Without a cache: the whole sentence is read again for each word."""
    translation = []
    while len(translation) < ROOM:
        seqs = torch.tensor([prompt + translation])
        logits = model(seqs, BatchLayout.of(seqs))[0, -1]
        logits[PAD] = -torch.inf
        word = int(logits.argmax())
        if word == END:
            break
        translation.append(word)
    return translation


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("batch_tokens", [1, 8192])
def test_greedy_search_equals_a_loop_that_keeps_nothing(workshop, kind, batch_tokens):
    model = make_model(kind)
    expected = [greedy_loop(model, prompt) for prompt in PROMPTS]
    found = translate_prompts(
        model,
        [torch.tensor(prompt) for prompt in PROMPTS],
        eos_index=END,
        pad_index=PAD,
        max_length=ROOM,
        max_length_ratio=100.0,
        batch_tokens=batch_tokens,
    )
    assert found == expected
    assert max(map(len, found)) > 8
