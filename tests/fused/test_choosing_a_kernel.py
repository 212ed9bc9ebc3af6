"""What computes a criterion's rows, by its settings, its kernel and where the rows are."""

import pytest
import torch

from sekd_plugin import ConfigError, CrossEntropy, Divergence, Proxy, SelfEvolutionKD, WordKD
from sekd_plugin.kernels import choice
from sekd_plugin.kernels.analytic import AnalyticRows
from sekd_plugin.kernels.forward_kl import ForwardKLRows
from sekd_plugin.kernels.row_kernel import DefinitionRows
from sekd_plugin.kernels.streamed import StreamedRows

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Squared(Divergence):
    def forward(self, log_target, log_student):
        return (log_target.exp() - log_student.exp()).square().sum(-1)


class Own(Proxy):
    def forward(self, log_target, log_student, beta):
        return log_target, log_student


@pytest.mark.parametrize(
    ("settings", "kernel"),
    [
        ({}, ForwardKLRows),
        ({"difficulty": "forward_kl"}, ForwardKLRows),
        ({"proxy": "log_linear"}, ForwardKLRows),
        ({"proxy": Own()}, ForwardKLRows),
        ({"divergence": "reverse_kl"}, AnalyticRows),
        ({"divergence": "reverse_kl", "difficulty": "forward_kl"}, AnalyticRows),
        ({"difficulty": "reverse_kl"}, AnalyticRows),
        ({"divergence": "skew_reverse_kl", "proxy": "log_linear"}, AnalyticRows),
        ({"divergence": Squared()}, DefinitionRows),
        ({"divergence": "reverse_kl", "proxy": Own()}, DefinitionRows),
    ],
)
def test_the_fastest_that_serves_the_settings_is_taken(settings, kernel):
    assert type(SelfEvolutionKD(**settings).row_kernel(CPU, None)) is kernel


class Redefined(SelfEvolutionKD):
    def self_question(self, log_target, log_student):
        return super().self_question(log_target, log_student)


def with_kernel(name, **settings):
    criterion = SelfEvolutionKD(**settings)
    criterion.kernel = name
    return criterion


def test_a_gpu_gets_triton_kernels_where_there_are_some():
    assert type(with_kernel("auto").row_kernel(GPU, None)) is StreamedRows
    assert type(WordKD().row_kernel(GPU, None)) is StreamedRows
    assert type(with_kernel("triton").row_kernel(GPU, None)) is StreamedRows
    assert type(with_kernel("chunked").row_kernel(GPU, None)) is ForwardKLRows
    assert type(with_kernel("auto", proxy="detached").row_kernel(GPU, None)) is ForwardKLRows


def test_triton_without_a_gpu_is_refused_by_key(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    student = torch.randn(3, 5)
    with pytest.raises(ConfigError, match="kernel: 'triton' needs a GPU, and the rows are on cpu"):
        with_kernel("triton")(student, student, torch.zeros(3, dtype=torch.long))


def test_triton_without_kernels_for_the_settings_is_refused_by_key():
    with pytest.raises(ConfigError, match=r"forward_kl as divergence and difficulty .* 'auto'"):
        with_kernel("triton", divergence="reverse_kl").row_kernel(GPU, None)


def test_triton_for_a_criterion_without_kernels_is_refused_by_key():
    for criterion in (CrossEntropy(), Redefined()):
        criterion.kernel = "triton"
        with pytest.raises(ConfigError, match="no kernels for this criterion; use 'auto'"):
            criterion.row_kernel(GPU, None)


def test_without_triton_a_gpu_gets_the_chunks(monkeypatch):
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
    assert type(with_kernel("auto").row_kernel(GPU, None)) is ForwardKLRows
    with pytest.raises(ConfigError, match="'triton' is not installed here"):
        with_kernel("triton").row_kernel(GPU, None)
