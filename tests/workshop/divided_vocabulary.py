"""A vocabulary that is divided among gloo ranks.

Each computes the loss with its part of the words; what it found goes to ``FOLDER/rank_N.pt``.
"""

from pathlib import Path

import torch
import torch.distributed as dist

from sekd_plugin import SelfEvolutionKD
from sekd_plugin.kernels.fused import ChunkBytes
from sekd_plugin.teachers import SparseTeacher

WORDS, PADDED, ROWS = 12, 16, 9
KNOWN = {"name": "fixed", "config": {"gamma": 0.8}}
CASES = {
    "forward_kl": {"threshold": KNOWN, "temperature": 1.5},
    "a batch that decides": {"threshold": {"name": "top_k", "config": {"ratio": 0.4}}},
    "none hard": {"threshold": {"name": "fixed", "config": {"gamma": 1e9}}},
    "all hard": {"threshold": {"name": "fixed", "config": {"gamma": 0.0}}},
    "reverse_kl": {"threshold": KNOWN, "divergence": "reverse_kl"},
    "renyi": {"threshold": KNOWN, "divergence": "renyi"},
    "log_linear": {"threshold": KNOWN, "proxy": "log_linear"},
    "a padded teacher": {"threshold": KNOWN},
    "a sparse teacher": {"threshold": KNOWN},
    "logits of the teacher": {"threshold": KNOWN},
}


def tensors():
    torch.manual_seed(5)
    return {
        "hidden": torch.randn(ROWS, 4, dtype=torch.float64),
        "weight": torch.randn(WORDS, 4, dtype=torch.float64),
        "bias": torch.randn(WORDS, dtype=torch.float64),
        "teacher_hidden": torch.randn(ROWS, 3, dtype=torch.float64),
        "teacher_weight": torch.randn(PADDED, 3, dtype=torch.float64),
        "targets": torch.randint(0, WORDS, (ROWS,)),
    }


def loss_of(case, rank, ranks, group):
    given = tensors()
    words = WORDS // ranks
    part = slice(rank * words, (rank + 1) * words)
    hidden = given["hidden"].requires_grad_()
    weight = given["weight"][part].clone().requires_grad_()
    bias = given["bias"][part].clone().requires_grad_()
    criterion = SelfEvolutionKD(**{"teacher_weight": 0.6, "beta": 0.7, **CASES[case]})
    criterion.chunk_bytes = ChunkBytes(logits_bytes=4 * words * 4, cache_bytes=4 * words * 2)
    logits = given["teacher_hidden"] @ given["teacher_weight"].T
    if case == "a padded teacher":
        padded = PADDED // ranks
        theirs = {
            "teacher_hidden": given["teacher_hidden"],
            "teacher_weight": given["teacher_weight"][rank * padded : (rank + 1) * padded],
        }
    elif case == "a sparse teacher":
        log_p = torch.log_softmax(logits[:, :WORDS], -1)
        found = log_p.topk(5)
        rest = log_p.scatter(-1, found.indices, -torch.inf)
        theirs = {
            "teacher_logits": SparseTeacher(
                indices=found.indices,
                log_probabilities=found.values,
                log_tail=rest.logsumexp(-1),
                log_gold=log_p.gather(-1, given["targets"][:, None])[:, 0],
            )
        }
    elif case == "logits of the teacher":
        theirs = {"teacher_logits": logits}
    else:
        theirs = {
            "teacher_hidden": given["teacher_hidden"],
            "teacher_weight": given["teacher_weight"][:WORDS][part],
        }
    output = criterion.forward_linear(
        hidden,
        weight,
        targets=given["targets"],
        student_bias=bias,
        vocabulary_group=group,
        **theirs,
    )
    gradients = torch.autograd.grad(output.loss, (hidden, weight, bias))
    return {
        "loss": output.loss.detach(),
        "difficulty": output.difficulty,
        "hard": output.hard,
        "token_loss": output.token_loss,
        "cross_entropy": output.cross_entropy,
        "agreement": output.agreement,
        "by_hidden": gradients[0],
        "by_weight": gradients[1],
        "by_bias": gradients[2],
    }


def one_rank(folder, rank, ranks):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/ranks", rank=rank, world_size=ranks
    )
    found = {case: loss_of(case, rank, ranks, dist.group.WORLD) for case in CASES}
    torch.save(found, Path(folder) / f"rank_{rank}.pt")
    dist.destroy_process_group()
