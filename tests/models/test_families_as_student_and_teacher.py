"""Every family learns from and teaches every other, without the logits of a batch."""

import math

import pytest
from fairseq2.nn import ColumnShardedLinear, Linear, TiedProjection
from model_families import settings_of

LENGTH = ("regime.num_steps=4", "regime.publish_metrics_every_n_steps=2")
LARGER = 320
"""Words of a padded teacher; the students have 300."""

PAIRS = [
    ("qwen2", "qwen2", {"vocab_size": LARGER}),
    ("qwen3", "qwen2", {"vocab_size": LARGER}),
    ("llama", "qwen3", {"vocab_size": LARGER}),
    ("mistral", "mistral", {}),
    ("llama", "mistral", {}),
    ("olmo2", "olmo3", {}),
    ("olmo3", "olmo2", {"vocab_size": LARGER}),
    ("qwen3", "llama", {}),
]


@pytest.fixture
def asked_for_logits(monkeypatch):
    """The number of words of each output projection that was called."""
    calls = []

    def watch(kind, size_of):
        forward = kind.forward

        def spy(self, states):
            if size_of(self) >= 300:
                calls.append(size_of(self))
            return forward(self, states)

        monkeypatch.setattr(kind, "forward", spy)

    watch(Linear, lambda projection: projection.output_dim)
    watch(ColumnShardedLinear, lambda projection: projection.output_dim)
    watch(TiedProjection, lambda projection: projection.weight.shape[0])
    return calls


@pytest.mark.parametrize(("student", "teacher", "overrides"), PAIRS)
def test_the_fused_loss_of_a_pair_is_the_references(
    workshop, taught_families, asked_for_logits, student, teacher, overrides
):
    settings = (
        settings_of("model", student),
        taught_families(teacher, **overrides),
        *LENGTH,
        "criterion.name=self_evolution_kd",
        "criterion.config.threshold={name: top_k, config: {ratio: 0.4}}",
    )
    asked_for_logits.clear()
    workshop.train("fused", *settings)
    assert asked_for_logits == []

    workshop.train("reference", *settings, "criterion.kernel=reference")
    assert {300, overrides.get("vocab_size", 300)} == set(asked_for_logits)

    lines = list(zip(workshop.metrics("fused"), workshop.metrics("reference"), strict=True))
    assert len(lines) == 2
    for ours, theirs in lines:
        for name in ("Loss", "Difficulty", "Gamma", "Hard Ratio", "Cross-Entropy"):
            assert math.isfinite(ours[name])
            assert ours[name] == pytest.approx(theirs[name], rel=2e-5), name
    assert lines[-1][0]["Loss"] < lines[0][0]["Loss"]


def test_a_student_with_more_words_than_its_teacher_is_refused(workshop, taught_families):
    error = workshop.train(
        "run",
        settings_of("model", "qwen3", vocab_size=LARGER),
        taught_families("qwen2", vocab_size=310),
        "criterion.name=self_evolution_kd",
        expect=2,
    )
    assert "the teacher has 310 words, the student 320" in error
