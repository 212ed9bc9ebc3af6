"""What is measured of a token is the criterion's own difficulty and what the models say."""

import math

import pytest
import torch
from divergence_definitions import kl, reverse_kl, total_variation

from sekd_plugin import SelfEvolutionKD, divergences
from sekd_plugin.analysis.difficulty.measuring import LISTED, measure
from sekd_plugin.analysis.difficulty.token_table import TokenTable

N, V = 9, 17


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(3)
    student, teacher = (2.0 * torch.randn(N, V, generator=generator) for _ in range(2))
    return student, teacher, torch.randint(0, V, (N,), generator=generator)


def measured(logits, **settings):
    others = {name: divergences.create(name, "") for name in ("reverse_kl", "total_variation")}
    return measure(SelfEvolutionKD(**settings), others, "own", *logits)


@pytest.mark.parametrize(("weight", "temperature"), [(0.5, 1.0), (0.2, 2.0), (1.0, 1.0)])
def test_difficulties_are_those_of_the_definition(logits, weight, temperature):
    table = measured(logits, teacher_weight=weight, temperature=temperature)
    student, teacher, targets = logits
    for row in range(N):
        q = torch.softmax(student[row].double() / temperature, -1)
        p = torch.softmax(teacher[row].double() / temperature, -1)
        target = weight * p
        target[targets[row]] += 1.0 - weight
        for name, definition in (
            ("own", kl),
            ("reverse_kl", reverse_kl),
            ("total_variation", total_variation),
        ):
            found = float(table.difficulty[name][row])
            assert found == pytest.approx(float(definition(target, q)), rel=1e-5, abs=1e-6), name
        entropy = -sum(float(x) * math.log(float(x)) for x in p)
        assert float(table.entropy[row]) == pytest.approx(entropy, rel=1e-5)
        for likely, model in ((table.teacher, p), (table.student, q)):
            order = sorted(range(V), key=lambda word, model=model: -float(model[word]))[:LISTED]
            assert likely.words[row].tolist() == order
            assert likely.probabilities[row].tolist() == pytest.approx(model[order].tolist())
            gold = math.log(float(model[targets[row]]))
            assert float(likely.log_gold[row]) == pytest.approx(gold, rel=1e-5)


def test_the_difficulty_is_what_training_reports(logits):
    settings = {"difficulty": "jensen_shannon", "teacher_weight": 0.3}
    reported = SelfEvolutionKD(**settings)(*logits).difficulty
    assert torch.allclose(measured(logits, **settings).difficulty["own"], reported, atol=1e-6)


def test_without_the_teachers_share_the_gold_word_alone_is_the_target(logits):
    student, teacher, targets = logits
    table = measure(SelfEvolutionKD(teacher_weight=0.0), {}, "own", student, teacher, targets)
    gold = torch.nn.functional.cross_entropy(student.double(), targets, reduction="none")
    assert torch.allclose(table.difficulty["own"].double(), gold, atol=1e-5)
    assert bool((table.entropy > 0.0).all())  # the teacher is looked at all the same


def test_a_padded_vocabulary_of_the_teacher_is_left_out(logits):
    student, teacher, targets = logits
    padded = torch.cat([teacher, torch.full((N, 4), 50.0)], dim=-1)
    plain, wide = measured(logits), measured((student, padded, targets))
    assert torch.equal(plain.difficulty["own"], wide.difficulty["own"])
    assert torch.equal(plain.teacher.words, wide.teacher.words)


def test_chunks_joined_and_put_in_order_are_the_whole(logits):
    whole = measured(logits)
    parts = [measured(tuple(each[rows] for each in logits)) for rows in (slice(4, 9), slice(0, 4))]
    joined = TokenTable.joined(parts).chosen(torch.tensor([5, 6, 7, 8, 0, 1, 2, 3, 4]))
    assert torch.equal(joined.student.words, whole.student.words)
    for name, values in whole.difficulty.items():
        assert torch.allclose(joined.difficulty[name], values, rtol=1e-6, atol=1e-7), name


def test_a_smaller_vocabulary_of_the_teacher_is_refused(logits):
    student, teacher, targets = logits
    with pytest.raises(ValueError, match=r"16 words.* 17"):
        measured((student, teacher[:, :-1], targets))
