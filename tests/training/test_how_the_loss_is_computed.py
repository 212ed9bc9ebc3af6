"""The recipe gives the criterion hidden states; only the reference is given logits."""

import pytest
from fairseq2.nn import ColumnShardedLinear

LENGTH = ("regime.num_steps=4", "regime.publish_metrics_every_n_steps=2")
VOCABULARY = 300


@pytest.fixture
def asked_for_logits(monkeypatch):
    """How often an output projection was called, by student and teacher together."""
    forward, calls = ColumnShardedLinear.forward, []

    def spy(self, states):
        if self.output_dim == VOCABULARY:
            calls.append(states.shape)
        return forward(self, states)

    monkeypatch.setattr(ColumnShardedLinear, "forward", spy)
    return calls


def test_by_default_no_model_is_asked_for_logits(taught, asked_for_logits):
    taught.train("run", taught.teacher("teacher", 8), *LENGTH, "criterion.name=self_evolution_kd")
    assert asked_for_logits == []


def test_the_reference_asks_both_models_and_learns_the_same(taught, asked_for_logits):
    teacher = taught.teacher("teacher", 8)
    for divergence in ("forward_kl", "reverse_kl"):
        settings = (
            teacher,
            *LENGTH,
            "criterion.name=self_evolution_kd",
            f"criterion.config.divergence={divergence}",
            "criterion.config.threshold={name: top_k, config: {ratio: 0.4}}",
        )
        taught.train(f"{divergence}_auto", *settings)
        assert asked_for_logits == []
        taught.train(f"{divergence}_reference", *settings, "criterion.kernel=reference")
        assert len(asked_for_logits) > 0
        asked_for_logits.clear()
        for ours, theirs in zip(
            taught.metrics(f"{divergence}_auto"),
            taught.metrics(f"{divergence}_reference"),
            strict=True,
        ):
            for name in ("Loss", "Difficulty", "Gamma", "Hard Ratio", "Cross-Entropy"):
                assert ours[name] == pytest.approx(theirs[name], rel=2e-5), name


def test_cross_entropy_needs_no_logits_either(workshop, asked_for_logits):
    workshop.train("run", *LENGTH)
    assert asked_for_logits == []
