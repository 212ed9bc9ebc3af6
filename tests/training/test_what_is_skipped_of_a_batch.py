"""A loss without some sentences is the loss of a batch in which they are no targets, to the bit."""

import math
from dataclasses import dataclass

import pytest
import torch
from fairseq2.datasets import SequenceBatch
from measured_step import SHAPE, made
from ranks_as_threads import on_threads

from sekd_plugin import SelfEvolutionKD
from sekd_plugin.divergences import ForwardKL
from sekd_plugin.teachers import SparseTeacher
from sekd_plugin.toolkits.fairseq2.distillation import Distillation
from sekd_plugin.toolkits.fairseq2.faults import sound_sentences
from sekd_plugin.toolkits.fairseq2.faults.non_finite_step import NonFiniteStepError
from sekd_plugin.toolkits.fairseq2.faults.sound_sentences import SoundSentences, TeacherFaults
from sekd_plugin.toolkits.fairseq2.teacher import LiveTeacher

WORDS, LENGTH, PROMPT = SHAPE["vocab_size"], 9, 3
RARE = 599
"""A word that only the third sentence has."""


def batch(*, without=()):
    """Four sentences; those ``without`` have no target token."""
    draw = torch.Generator().manual_seed(3)
    seqs = torch.randint(4, RARE, (4, LENGTH), generator=draw)
    seqs[2, 1] = RARE
    mask = torch.ones_like(seqs, dtype=torch.bool)
    mask[:, :PROMPT] = False
    mask[list(without)] = False
    places = [("corpus.jsonl", line) for line in (11, 12, 13, 14)]
    return SequenceBatch(seqs, [LENGTH] * 4, target_mask=mask, example=places)


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    student, teacher = made("llama")[0], made("llama")[0]
    return student, teacher.requires_grad_(False).eval()


@pytest.fixture
def broken(models):
    """A student, and a teacher that gives NaN on the third sentence."""
    student, teacher = models
    weight = teacher.decoder_frontend.embed.weight
    before = weight[RARE].clone()
    weight[RARE] = math.nan
    yield student, teacher
    weight[RARE] = before


@dataclass
class GivenWords:
    """A teacher that is known by its logits ``[B, T, V]``."""

    words: torch.Tensor

    def read(self, batch, inputs, rows):
        return self

    def for_states(self, group):
        return {"teacher_logits": self.words}

    def logits(self, rows):
        return rows.take(self.words, "words")


def learnt(student, teacher, given, *, skips, kernel="auto", **settings):
    """All that a batch comes to: what the criterion saw, its state, and the gradients."""
    criterion = SelfEvolutionKD(**settings)
    criterion.kernel = kernel
    distillation = Distillation(student, teacher, criterion, skips=skips)
    student.zero_grad(set_to_none=True)
    loss, output = distillation(given)
    loss.backward()
    gradients = [parameter.grad.clone() for parameter in student.parameters()]
    skipped = distillation.sound.take() if skips else []
    seen = [loss.detach(), output.difficulty, output.hard, output.token_loss]
    state = criterion.get_extra_state()["observed"]
    return [*seen, torch.tensor(output.gamma), state, *gradients], output.num_targets, skipped


def expect_the_same(ours, theirs):
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("kernel", ["auto", "reference"])
@pytest.mark.parametrize("threshold", ["dynamic", {"name": "top_k", "config": {"ratio": 0.4}}])
def test_a_live_teacher_that_breaks_on_a_sentence(models, broken, kernel, threshold):
    student, teacher = broken
    settings = {"kernel": kernel, "threshold": threshold}
    ours, count, skipped = learnt(student, LiveTeacher(teacher), batch(), skips=True, **settings)
    without = batch(without=[2])
    theirs, _, _ = learnt(student, LiveTeacher(teacher), without, skips=False, **settings)
    expect_the_same(ours, theirs)
    assert count == 3 * (LENGTH - PROMPT)
    assert [(each.row, each.reason) for each in skipped] == [(2, sound_sentences.NOT_FINITE)]


@pytest.mark.parametrize("kernel", ["auto", "reference"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_teacher_that_is_known_by_its_logits(models, kernel, value):
    student, _ = models
    words = torch.randn(4, LENGTH - 1, WORDS, generator=torch.Generator().manual_seed(5))
    words[:, 0] = math.nan  # on the prompt, where nothing is learnt
    words[1, -1, 7] = value
    teacher = GivenWords(words)
    ours, _, skipped = learnt(student, teacher, batch(), skips=True, kernel=kernel)
    without = batch(without=[1])
    theirs, _, _ = learnt(student, teacher, without, skips=False, kernel=kernel)
    expect_the_same(ours, theirs)
    assert [each.row for each in skipped] == [1]


@pytest.mark.parametrize("kernel", ["auto", "reference"])
def test_a_loss_that_a_word_makes_infinite_which_the_teacher_rules_out(models, kernel):
    student, _ = models
    words = torch.randn(4, LENGTH - 1, WORDS, generator=torch.Generator().manual_seed(6))
    words[3, -1, 7] = words[0, 0, 7] = -math.inf  # the second on the prompt
    words[1, -2, 9] = math.nan
    settings = {"kernel": kernel, "divergence": "reverse_kl", "teacher_weight": 1.0}
    ours, _, skipped = learnt(student, GivenWords(words), batch(), skips=True, **settings)
    without = batch(without=[1, 3])
    theirs, _, _ = learnt(student, GivenWords(words), without, skips=False, **settings)
    expect_the_same(ours, theirs)
    assert [(each.row, each.reason) for each in skipped] == [
        (1, sound_sentences.NOT_FINITE),
        (3, sound_sentences.INFINITE),
    ]
    # A divergence that is finite there has nothing to skip.
    _, count, skipped = learnt(student, GivenWords(words.nan_to_num(0.0)), batch(), skips=True)
    assert (count, skipped) == (4 * (LENGTH - PROMPT), [])


def test_a_batch_without_a_sound_sentence_still_reaches_every_parameter(broken):
    student, teacher = broken
    only = batch()
    only = SequenceBatch(
        only.seqs[2:3], [LENGTH], target_mask=only.target_mask[2:3], example=only.example[2:3]
    )
    found, count, skipped = learnt(student, LiveTeacher(teacher), only, skips=True)
    gradients = found[-len(list(student.parameters())) :]
    assert count == 0 and len(skipped) == 1
    assert all(bool((gradient == 0.0).all()) for gradient in gradients)


def test_a_student_that_is_not_finite_stops_training_all_the_same(models):
    student, teacher = models
    weight = student.decoder_frontend.embed.weight
    before = weight[RARE].clone()
    with torch.no_grad():
        weight[RARE] = math.nan
    try:
        with pytest.raises(NonFiniteStepError) as caught:
            learnt(student, LiveTeacher(teacher), batch(), skips=True)
    finally:
        with torch.no_grad():
            weight[RARE] = before
    assert str(caught.value) == (
        "step 0: the student's logits are not finite on 6 of 24 target tokens, in corpus.jsonl, "
        "line 13 (the model is broken: that cannot be skipped)"
    )


class Endless(ForwardKL):
    """Infinite whatever the teacher says."""

    def forward(self, log_target, log_student):
        return super().forward(log_target, log_student) * 1e30 * 1e30


def test_a_loss_that_is_infinite_without_the_teachers_doing_stops_training(models):
    student, teacher = models
    with pytest.raises(
        NonFiniteStepError, match=r"is infinite on 24 of 24 .*, line 11, 12, 13, 14"
    ):
        learnt(student, LiveTeacher(teacher), batch(), skips=True, divergence=Endless())


def test_the_sentence_is_named_also_when_others_were_left_out_before(models):
    student, _ = models
    words = torch.randn(4, LENGTH - 1, WORDS, generator=torch.Generator().manual_seed(7))
    words[0, -1, 7] = math.nan
    weight = student.decoder_frontend.embed.weight
    before = weight[RARE].clone()
    with torch.no_grad():
        weight[RARE] = math.nan
    try:
        with pytest.raises(NonFiniteStepError, match=r"on 6 of 18 .*, line 13 "):
            learnt(student, GivenWords(words), batch(), skips=True)
    finally:
        with torch.no_grad():
            weight[RARE] = before


def test_a_sparse_teacher_is_looked_at_word_by_word():
    def faults(listed, tail, gold):
        teacher = SparseTeacher(
            indices=torch.tensor([[0, 1]]),
            log_probabilities=torch.tensor([listed]).log(),
            log_tail=torch.tensor([tail]).log(),
            log_gold=torch.tensor([gold]).log(),
        )
        found = TeacherFaults.of_words(teacher)
        return bool(found.broken), bool(found.ruled_out)

    assert faults([0.5, 0.3], 0.2, 0.5) == (False, False)
    assert faults([0.5, 0.5], 0.0, 0.5) == (False, True)
    assert faults([1.0, 0.0], 0.1, 0.5) == (False, True)
    assert faults([math.nan, 0.3], 0.2, 0.5) == (True, False)
    assert faults([0.5, 0.3], math.nan, 0.5) == (True, False)
    assert faults([0.5, 0.3], 0.2, math.inf) == (True, False)


@pytest.mark.parametrize("bad", [(), (0,), (1,), (0, 1)])
def test_ranks_that_decide_together_are_asked_equally_often(monkeypatch, bad):
    monkeypatch.setattr(sound_sentences, "Ranks", lambda group: group)
    threshold = {"name": "top_k", "config": {"k": 3, "scope": "global"}}

    def logits(own, of):
        draw = torch.Generator().manual_seed(own + 10 * of)
        return torch.randn(2, 3, 11, generator=draw)

    def run(ranks, broken):
        criterion = SelfEvolutionKD(
            threshold=threshold, divergence="reverse_kl", teacher_weight=1.0
        )
        criterion.process_group = ranks
        student, teacher = logits(ranks.own, 1), logits(ranks.own, 2)
        targets, mask = torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool)
        if ranks.own in bad and not broken:
            mask[1] = False
        if ranks.own in bad and broken:
            teacher[1, 0, 4] = -math.inf
        output, _ = SoundSentences(criterion).compute(
            lambda some, kept: criterion(student, teacher, targets, some),
            mask,
            targets,
            TeacherFaults.of_words(teacher.view(6, 11)[mask.view(6)]),
        )
        return output.hard.tolist(), output.token_loss.tolist(), output.gamma

    ours, gatherings = on_threads(2, lambda ranks: run(ranks, True))
    theirs, _ = on_threads(2, lambda ranks: run(ranks, False))
    assert ours == theirs
    assert gatherings[0] == gatherings[1]
    assert sum(map(sum, (hard for hard, _, _ in ours))) == 3
