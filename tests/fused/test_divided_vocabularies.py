"""Words divided among real gloo processes: the loss and gradients of one process."""

import divided_vocabulary
import pytest
import torch
import torch.distributed as dist
from divided_vocabulary import CASES, loss_of
from ranks_in_processes import run_ranks

from sekd_plugin import CrossEntropy, NonFiniteLogitsError, SelfEvolutionKD
from sekd_plugin.kernels.division import Division


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request, tmp_path_factory):
    """What each rank found, case by case."""
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(divided_vocabulary, folder, request.param)
    return [
        torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(request.param)
    ]


@pytest.fixture
def group_of_one(tmp_path):
    """A process group that only this process is in."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/ranks", rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


@pytest.mark.parametrize("case", CASES)
def test_a_group_of_one_changes_nothing(case, group_of_one):
    alone, found = loss_of(case, 0, 1, None), loss_of(case, 0, 1, group_of_one)
    for name, expected in alone.items():
        torch.testing.assert_close(found[name], expected, msg=name)


def test_shards_of_different_sizes_and_of_another_cut_are_put_together(group_of_one):
    division = Division(group=group_of_one, sizes=(2, 3), rank=1)
    assert division.words == slice(2, 5) and division.total == 5


def test_without_gradients_nothing_but_losses_is_formed(group_of_one):
    with torch.no_grad():
        hidden, weight = torch.randn(5, 4), torch.randn(6, 4)
        output = SelfEvolutionKD(divergence="reverse_kl", teacher_weight=1.0).forward_linear(
            hidden,
            weight,
            hidden,
            weight,
            torch.zeros(5, dtype=torch.long),
            vocabulary_group=group_of_one,
        )
    assert not output.loss.requires_grad and (output.difficulty.abs() < 1e-6).all()


def test_a_group_without_a_teacher_and_the_definition_in_one_piece(group_of_one):
    hidden, weight = torch.randn(5, 4), torch.randn(6, 4, requires_grad=True)
    targets = torch.tensor([0, 5, 2, 2, 1])
    criterion = CrossEntropy()
    output = criterion.forward_linear(
        hidden, weight, targets=targets, vocabulary_group=group_of_one
    )
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    torch.testing.assert_close(output.loss, expected)
    criterion.kernel = "reference"
    with pytest.raises(ValueError, match="'reference' needs all words on one rank"):
        criterion.forward_linear(hidden, weight, targets=targets, vocabulary_group=group_of_one)


def test_logits_that_are_not_finite_are_found_in_every_rank_s_part(group_of_one):
    hidden, weight = torch.randn(5, 4), torch.randn(6, 4)
    hidden[3] = torch.nan
    with pytest.raises(NonFiniteLogitsError, match=r"the student's logits .* target row 3"):
        SelfEvolutionKD().forward_linear(
            hidden,
            weight,
            targets=torch.zeros(5, dtype=torch.long),
            teacher_logits=torch.randn(5, 6),
            vocabulary_group=group_of_one,
        )


@pytest.mark.parametrize("case", CASES)
def test_the_result_is_that_of_one_process(case, ranks):
    alone = loss_of(case, 0, 1, None)
    found = [rank[case] for rank in ranks]
    for name in ("loss", "difficulty", "hard", "token_loss", "cross_entropy", "agreement"):
        for each in found:
            torch.testing.assert_close(each[name], alone[name], msg=name)
    for each in found:
        torch.testing.assert_close(each["by_hidden"], alone["by_hidden"])
    for name in ("by_weight", "by_bias"):
        torch.testing.assert_close(torch.cat([each[name] for each in found]), alone[name])
