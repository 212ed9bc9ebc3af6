"""The loss runs inside the student's forward, from hidden states, and is the definition's."""

import json

import pytest
import torch
from fairseq2.models.llama import LLaMAConfig
from fairseq2.models.llama.factory import create_llama_model
from fairseq2.nn import TiedProjection
from tiny_encoder_decoder import PAD, tiny_model

from sekd_plugin import SelfEvolutionKD
from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.projection import output_projection
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.batch import collate_pairs
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.student import (
    encoder_decoder_output,
    make_encoder_decoder_student,
    model_inputs,
)
from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.teacher import run_teacher
from sekd_plugin.toolkits.fairseq2.vocabulary import output_size

TOP = {"name": "top_k", "config": {"ratio": 0.4}}


@pytest.fixture
def words(language_pieces):
    return language_pieces.vocab_info.size


@pytest.fixture
def batch(shared_folder, direction):
    lines = (shared_folder / "train.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    pairs = [json.loads(line) for line in lines]
    return collate_pairs(
        [direction.encode_source(pair["src"]) for pair in pairs],
        [direction.encode_target(pair["tgt"]) for pair in pairs],
        prefixes=[direction.prefix] * len(pairs),
        pad_index=PAD,
    )


def fused_loss(student, teacher, batch, criterion):
    trimmed, targets = batch.as_auto_regressive()
    inputs = model_inputs(trimmed)
    said = run_teacher(teacher, *inputs)

    def loss_of_states(states, final_proj):
        projection = output_projection(final_proj)
        output = criterion.forward_linear(
            states,
            projection.weight,
            targets=targets.seqs,
            mask=targets.target_mask,
            **said.for_states(None),
        )
        assert output.num_targets == int(targets.target_mask.sum())
        return output.loss

    return student(*inputs, loss_of_states=loss_of_states)


def defined_loss(student, teacher, batch, criterion):
    """The contract's own call on both models' logits."""
    trimmed, targets = batch.as_auto_regressive()
    inputs = model_inputs(trimmed)
    with torch.no_grad():
        theirs = teacher(*inputs)
    return criterion(student(*inputs), theirs, targets.seqs, targets.target_mask).loss


@pytest.mark.parametrize("extra", [0, 7])
def test_the_loss_and_its_gradient_are_those_of_the_logits(batch, words, extra, monkeypatch):
    student, teacher = tiny_model(words, 1).double(), tiny_model(words + extra, 2).double().eval()
    make_encoder_decoder_student(student)
    expected = defined_loss(student, teacher, batch, SelfEvolutionKD(threshold=TOP))
    slopes = torch.autograd.grad(expected, list(student.parameters()))

    monkeypatch.setattr(TiedProjection, "forward", None)  # nobody may ask for logits
    loss = fused_loss(student, teacher, batch, SelfEvolutionKD(threshold=TOP))
    assert loss.isfinite()
    torch.testing.assert_close(loss, expected)
    found = torch.autograd.grad(loss, list(student.parameters()))
    for ours, theirs in zip(found, slopes, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_the_decoder_would_say_of_the_language_does_not_matter(batch, words):
    student, teacher = tiny_model(words, 1), tiny_model(words, 2).eval()
    make_encoder_decoder_student(student)
    trimmed, targets = batch.as_auto_regressive()
    states = {}

    def keep(model_states, final_proj):
        states["student"] = model_states
        return model_states.sum()

    student(*model_inputs(trimmed), loss_of_states=keep)
    outside = ~targets.target_mask
    assert outside[:, 0].all() and not outside[:, 1].any()
    criterion = SelfEvolutionKD(threshold=TOP)
    said = run_teacher(teacher, *model_inputs(trimmed)).for_states(None)
    losses = []
    for noise in (0.0, torch.nan):
        spoilt = states["student"].detach().clone()
        spoilt[outside] += noise
        output = criterion.forward_linear(
            spoilt,
            student.final_proj.weight,
            targets=targets.seqs,
            mask=targets.target_mask,
            **said,
        )
        losses.append(output.loss)
    assert losses[0] == losses[1]


def test_a_student_learns_from_its_teacher(batch, words):
    trimmed, targets = batch.as_auto_regressive()
    mask = targets.target_mask
    teacher = tiny_model(words, 2, model_dim=32)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        logits = teacher(*model_inputs(trimmed))[mask]
        torch.nn.functional.cross_entropy(logits, targets.seqs[mask]).backward()
        optimizer.step()

    student = tiny_model(words, 1)
    names = list(student.state_dict())
    make_encoder_decoder_student(student)
    assert list(student.state_dict()) == names
    criterion = SelfEvolutionKD(beta=0.9, threshold="dynamic")
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = fused_loss(student, teacher.eval(), batch, criterion) / mask.sum()
        loss.backward()
        optimizer.step()
        criterion.step()
        losses.append(loss.item())
    assert torch.tensor(losses).isfinite().all()
    assert losses[-1] < 0.5 * losses[0]


def test_states_and_projection_make_the_models_own_logits(batch, words):
    model = tiny_model(words, 3).eval()
    inputs = model_inputs(batch.as_auto_regressive()[0])
    with torch.no_grad():
        logits = model.final_proj(encoder_decoder_output(model, inputs))
        torch.testing.assert_close(logits, model(*inputs), rtol=0, atol=0)
    assert output_size(model) == words


def test_a_decoder_only_model_is_refused():
    model = create_llama_model(
        LLaMAConfig(model_dim=8, num_layers=1, num_attn_heads=1, num_key_value_heads=1)
    )
    with pytest.raises(ConfigError, match="TransformerLM, which is no encoder–decoder model"):
        make_encoder_decoder_student(model)
