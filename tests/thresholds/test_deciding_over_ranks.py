"""Where all ranks' tokens are one batch, exactly K of them are hard, wherever they are."""

import json
import math

import batches_on_ranks
import pytest
import torch
from batches_on_ranks import TARGETS, THRESHOLDS, Student, batch_of
from hypothesis import given
from hypothesis import strategies as st
from ranks_as_threads import Meeting, ThreadRanks, on_threads
from ranks_in_processes import run_ranks

from sekd_plugin import KnownGamma, SelfEvolutionKD, Threshold
from sekd_plugin.kernels.decision import RanksDecision
from sekd_plugin.kernels.fused import ChunkBytes
from sekd_plugin.ranks import Ranks
from sekd_plugin.testing.difficulty_stream import GivenDifficulty
from sekd_plugin.thresholds import TopKThreshold

FEW_VALUES = st.sampled_from([0.0, 0.5, 1.0, 1.5, math.inf])
OF_RANKS = st.lists(st.lists(FEW_VALUES, max_size=6), min_size=2, max_size=4)


def the_hardest(of_ranks, k):
    """By the plain definition: what each rank marks of its difficulties, and Γ."""
    places = [
        (-value, rank, position)
        for rank, values in enumerate(of_ranks)
        for position, value in enumerate(values)
    ]
    chosen = {place[1:] for place in sorted(places)[:k]}
    hard = [
        [(rank, position) in chosen for position in range(len(values))]
        for rank, values in enumerate(of_ranks)
    ]
    easy = [
        value
        for values, flags in zip(of_ranks, hard, strict=True)
        for value, flag in zip(values, flags, strict=True)
        if not flag
    ]
    if easy or not places:
        return hard, max(easy, default=math.inf)
    lowest = torch.tensor(-max(places)[0], dtype=torch.float32)
    return hard, float(torch.nextafter(lowest, torch.tensor(-math.inf)))


def decided(threshold, of_ranks, chunk=None):
    """What each rank's criterion marks, the Γ it reports, and how often it gathered."""

    def on_rank(ranks):
        criterion = GivenDifficulty(threshold)
        criterion.process_group, criterion.gather_over_ranks = ranks, True
        if chunk is not None:
            criterion.kernel = "chunked"
            criterion.chunk_bytes = ChunkBytes(cache_bytes=4 * chunk)
        difficulty = torch.tensor(of_ranks[ranks.own]).unsqueeze(-1)
        targets = torch.zeros(len(difficulty), dtype=torch.int64)
        with torch.no_grad():
            output = criterion(difficulty, None, targets)
        return output.hard.tolist(), output.gamma

    results, gatherings = on_threads(len(of_ranks), on_rank)
    return [hard for hard, _ in results], {gamma for _, gamma in results}, gatherings


@given(OF_RANKS, st.integers(0, 25), st.sampled_from([None, 1, 2]))
def test_exactly_the_k_hardest_of_all_ranks_are_hard_and_ties_go_to_the_lower_rank(
    of_ranks, k, chunk
):
    hard, gammas, gatherings = decided(TopKThreshold(k=k, scope="global"), of_ranks, chunk)
    expected, gamma = the_hardest(of_ranks, k)
    assert hard == expected
    assert sum(map(sum, hard)) == min(k, sum(map(len, of_ranks)))
    assert gammas == {gamma}
    assert gatherings == [1] * len(of_ranks)


@given(OF_RANKS, st.floats(0, 1), st.sampled_from([None, 1, 2]))
def test_a_ratio_is_of_the_tokens_of_all_ranks(of_ranks, ratio, chunk):
    hard, gammas, _ = decided(TopKThreshold(ratio=ratio, scope="global"), of_ranks, chunk)
    count = math.floor(ratio * sum(map(len, of_ranks)) + 0.5)
    expected, gamma = the_hardest(of_ranks, count)
    assert hard == expected
    assert gammas == {gamma}


@given(OF_RANKS, st.integers(0, 8))
def test_with_the_scope_of_a_rank_each_decides_by_itself_and_nothing_is_gathered(of_ranks, k):
    hard, _, gatherings = decided(TopKThreshold(k=k, scope="rank"), of_ranks)
    assert hard == [the_hardest([values], k)[0][0] for values in of_ranks]
    assert gatherings == [0] * len(of_ranks)


def rows_of(counts, words=12, width=5):
    torch.manual_seed(3)
    parts = []
    for count in counts:
        scale = torch.rand(count, 1, dtype=torch.float64) * 3
        hidden = torch.randn(count, width, dtype=torch.float64) * scale
        teacher = torch.randn(count, words, dtype=torch.float64)
        parts.append((hidden, teacher, torch.randint(0, words, (count,))))
    return parts, torch.randn(words, width, dtype=torch.float64)


def losses(criterion, kernel, linear, chunk, rows, weight):
    """What a criterion makes of some rows, with the gradients by them and by the weight."""
    hidden, teacher, targets = rows
    hidden, weight = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    criterion.kernel = kernel
    criterion.chunk_bytes = ChunkBytes(logits_bytes=4 * 12 * chunk * 2, cache_bytes=4 * 12 * chunk)
    if linear:
        output = criterion.forward_linear(hidden, weight, targets=targets, teacher_logits=teacher)
    else:
        output = criterion(hidden @ weight.T, teacher, targets)
    return output, *torch.autograd.grad(output.loss, (hidden, weight))


@pytest.mark.parametrize("settings", [{"k": 9}, {"k": 1}, {"ratio": 0.3}, {"ratio": 1.0}], ids=str)
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize(
    ("kernel", "chunk"), [("reference", 100), ("chunked", 1), ("chunked", 3), ("chunked", 100)]
)
def test_losses_and_gradients_of_all_ranks_are_those_of_their_rows_in_one_process(
    settings, linear, kernel, chunk
):
    counts = (17, 0, 5, 22)
    parts, weight = rows_of(counts)
    together = tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
    alone = SelfEvolutionKD(threshold=TopKThreshold(**settings), teacher_weight=0.6, beta=0.7)
    expected, by_rows, by_weight = losses(alone, "reference", linear, 100, together, weight)

    def on_rank(ranks):
        threshold = TopKThreshold(**settings, scope="global")
        criterion = SelfEvolutionKD(threshold=threshold, teacher_weight=0.6, beta=0.7)
        criterion.process_group = ranks
        return losses(criterion, kernel, linear, chunk, parts[ranks.own], weight)

    results, gatherings = on_threads(4, on_rank)
    assert gatherings == [1, 1, 1, 1]
    outputs = [output for output, _, _ in results]
    assert torch.equal(torch.cat([output.hard for output in outputs]), expected.hard)
    assert [output.gamma for output in outputs] == [pytest.approx(expected.gamma)] * 4
    assert len({output.gamma for output in outputs}) == 1
    total = sum(output.loss.detach() for output in outputs)
    assert float(total) == pytest.approx(float(expected.loss.detach()))
    torch.testing.assert_close(
        torch.cat([output.token_loss for output in outputs]), expected.token_loss
    )
    torch.testing.assert_close(torch.cat([gradient for _, gradient, _ in results]), by_rows)
    torch.testing.assert_close(sum(gradient for _, _, gradient in results), by_weight)


def test_a_rank_guesses_that_the_others_rows_are_like_its_own_and_asks_nobody():
    meeting = Meeting(4)
    threshold = TopKThreshold(k=28, scope="global")
    for rows in (10, 40):
        guess = RanksDecision(
            threshold.decide_by_sentence, torch.arange(40) // 5, ThreadRanks(meeting, 0)
        )
        # Of 160 tokens on four ranks 28 are hard, so of 10 alike about 2, and of 40 about 7.
        hard = guess.on(slice(0, rows))(torch.arange(float(rows)))
        assert abs(int(hard.sum()) - 28 * rows / 160) <= 1
    assert meeting.gatherings == [0] * 4


class HardestSentence(Threshold):
    """Hard is every token of the sentence with the greatest sum, on whatever rank it is."""

    decides_over_ranks = True
    told = ()

    def decide(self, difficulty):
        return torch.ones_like(difficulty, dtype=torch.bool)

    def decide_by_sentence(self, difficulty, sentences):
        self.told = (difficulty.tolist(), sentences.tolist())
        sums = torch.zeros(int(sentences.max()) + 1).index_add(0, sentences, difficulty)
        return sentences == sums.argmax()


def test_a_threshold_of_ones_own_is_given_all_ranks_rows_in_order_with_their_sentences():
    values = [[[1.0, 0.0], [0.5, 2.0]], [[0.0, 3.0], [1.0, 0.5]], [[0.0, 0.0], [0.0, 0.0]]]
    masks = [[[1, 0], [0, 1]], [[0, 0], [1, 1]], [[0, 0], [0, 0]]]

    def on_rank(ranks):
        criterion = GivenDifficulty(HardestSentence())
        criterion.process_group, criterion.gather_over_ranks = ranks, True
        logits = torch.tensor(values[ranks.own]).unsqueeze(-1)
        mask = torch.tensor(masks[ranks.own], dtype=torch.bool)
        output = criterion(logits, None, torch.zeros(2, 2, dtype=torch.int64), mask)
        return output.hard.tolist(), criterion.threshold.told, output.gamma

    results, _ = on_threads(3, on_rank)
    # The third rank's criterion has no token, and is told of the others' all the same.
    assert [told for _, told, _ in results] == [([1.0, 2.0, 1.0, 0.5], [0, 1, 2, 2])] * 3
    assert [hard for hard, _, _ in results] == [[False, True], [False, False], []]
    assert [gamma for _, _, gamma in results] == [1.0, 1.0, 1.0]


class KnownToAll(KnownGamma):
    """A Γ known beforehand has nothing to ask other ranks."""

    decides_over_ranks = True
    gamma = 0.75


def test_ranks_that_see_the_same_data_and_a_gamma_known_beforehand_gather_nothing():
    of_ranks = [[0.5, 1.0], [1.5]]
    hard, gammas, gatherings = decided(KnownToAll(), of_ranks)
    assert (hard, gammas, gatherings) == ([[False, True], [True]], {0.75}, [0, 0])

    def on_rank(ranks):
        criterion = GivenDifficulty(TopKThreshold(k=1, scope="global"))
        criterion.process_group, criterion.gather_over_ranks = ranks, False
        return criterion.decide((0.5, 1.0))

    results, gatherings = on_threads(2, on_rank)
    assert (results, gatherings) == ([(False, True)] * 2, [0, 0])


def test_a_batch_is_gathered_once_in_evaluation_too_and_closing_a_step_gathers_nothing():
    def on_rank(ranks):
        criterion = GivenDifficulty(TopKThreshold(k=2, scope="global"))
        criterion.process_group, criterion.gather_over_ranks = ranks, True
        seen = []
        for _ in range(2):
            seen.append(criterion.decide((1.0, 3.0)[: 2 * ranks.own]))
            criterion.decide(())
            criterion.step()
            criterion.eval()
        return seen

    results, gatherings = on_threads(2, on_rank)
    assert results == [[(), ()], [(True, True), (True, True)]]
    assert gatherings == [4, 4]


def test_without_other_processes_the_scope_changes_nothing():
    assert (Ranks().number, Ranks().own) == (1, 0)
    values = torch.tensor([[1.0, 2.0]])
    (own,) = Ranks().gather(values)
    assert own is values
    hard = []
    for scope in ("rank", "global"):
        torch.manual_seed(0)
        criterion = SelfEvolutionKD(threshold=TopKThreshold(ratio=0.3, scope=scope))
        output = criterion(torch.randn(20, 6), torch.randn(20, 6), torch.randint(0, 6, (20,)))
        hard.append((output.hard.tolist(), output.gamma))
    assert hard[0] == hard[1]


@pytest.fixture(scope="module", params=[2, 4])
def on_processes(request, tmp_path_factory):
    """What every rank of so many gloo processes has seen."""
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(batches_on_ranks, folder, request.param)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(request.param)]


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("name", THRESHOLDS)
def test_processes_together_learn_what_one_does_from_their_batches(on_processes, name, case):
    found = [rank[f"{name}, {case}"] for rank in on_processes]
    ranks = len(found)
    batches = [batch_of(case, rank, ranks) for rank in range(ranks)]
    difficulties = [result["difficulty"] for result in found]
    counts = [int(batch[3].sum()) for batch in batches]
    assert [len(values) for values in difficulties] == counts

    settings = THRESHOLDS[name]["config"]
    if settings.get("scope") == "global":
        k = settings.get("k", math.floor(settings.get("ratio", 0.0) * sum(counts) + 0.5))
        hard, gamma = the_hardest(difficulties, k)
        assert [result["hard"] for result in found] == hard
        assert {result["gamma"] for result in found} == {gamma}
    for result in found:
        del (alike := dict(result))["gradient"], alike["evaluated"]
        assert result["evaluated"] == alike

    student = Student(THRESHOLDS[name])
    whole = [tuple(torch.cat(parts) for parts in zip(*batches, strict=True))]
    outputs = [student(*batch) for batch in (batches if settings.get("scope") == "rank" else whole)]
    loss = sum(output.loss for output in outputs)
    loss.backward()
    expected = pytest.approx(float(loss.detach()), rel=1e-5)
    assert sum(sum(result["hard"]) for result in found) == sum(
        int(output.hard.sum()) for output in outputs
    )
    assert sum(result["loss"] for result in found) == expected
    for result in found:
        torch.testing.assert_close(torch.tensor(result["gradient"]), student.weight.grad)
