"""The Kullback–Leibler divergence in both directions."""

from __future__ import annotations

from torch import Tensor

from sekd_plugin.divergences.base import Divergence, register_divergence


def kl_parts(log_first: Tensor, log_second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """KL(a ‖ b) = Σ_v a_v·(log a_v − log b_v), a row at a time.

    The sum runs over a·(log a − log b) − a + b. For normalised rows the added terms cancel; they
    make every term non-negative, so that rounding of a row's normaliser, which shifts all of its
    log-probabilities at once, no longer reaches the sum in first order.

    Args:
        log_first: log a, ``[n, V]``; words with a = 0 contribute b, which is their limit. A
            probability that is zero in floating point is zero, whatever b is.
        log_second: log b, ``[n, V]``; b = 0 where a > 0 makes the row infinite.

    Returns:
        ``[n]``, in nats; and, word by word, what its gradients are made of: a and a·log(a / b),
        ``[n, V]`` each. That by log b is −a, but for the b that is added, and that by log a is
        a·log(a / b).
    """
    probability = log_first.exp()
    log_ratio = (log_first - log_second).masked_fill(probability == 0.0, 0.0)
    weighted = probability * log_ratio
    terms = weighted - probability + log_second.exp()
    return terms.sum(dim=-1), probability, weighted


def kl_rows(log_first: Tensor, log_second: Tensor) -> Tensor:
    """KL(a ‖ b) alone: ``[n]``, see :func:`kl_parts`."""
    return kl_parts(log_first, log_second)[0]


@register_divergence("forward_kl")
class ForwardKL(Divergence):
    """Forward Kullback–Leibler: the student must cover all that the target holds possible.

    Formula:
        D(ỹ ‖ q) = KL(ỹ ‖ q) = Σ_v ỹ_v·log(ỹ_v / q_v)

    Use it as the default: it is the paper's, and its gradient ∂D/∂z = q − ỹ never vanishes while
    the two differ.

    Source: Kullback & Leibler 1951; arXiv 2412.15303, equation of the knowledge-distillation loss.
    """

    def forward(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """KL(target ‖ student): ``[n, V]``, ``[n, V]`` → ``[n]``."""
        return kl_rows(log_target, log_student)

    def value_and_gradient(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """D and −ỹ."""
        value, target, _ = kl_parts(log_target, log_student)
        return value, target.neg_()


@register_divergence("reverse_kl")
class ReverseKL(Divergence):
    """Reverse Kullback–Leibler: the student must keep to what the target holds possible.

    Formula:
        D(ỹ ‖ q) = KL(q ‖ ỹ) = Σ_v q_v·log(q_v / ỹ_v)

    Use it when the student is too small to cover the teacher: it settles on the target's main
    modes. Infinite against a one-hot target, so it needs ``teacher_weight`` above zero.

    Source: MiniLLM, arXiv 2306.08543.
    """

    infinite_on_zero_target = True

    def forward(self, log_target: Tensor, log_student: Tensor) -> Tensor:
        """KL(student ‖ target): ``[n, V]``, ``[n, V]`` → ``[n]``."""
        return kl_rows(log_student, log_target)

    def value_and_gradient(self, log_target: Tensor, log_student: Tensor) -> tuple[Tensor, Tensor]:
        """D and q·log(q / ỹ)."""
        value, _, weighted = kl_parts(log_student, log_target)
        return value, weighted
