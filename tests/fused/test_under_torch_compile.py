"""``torch.compile`` around the criterion neither breaks it nor is needed."""

import pytest
import torch

from sekd_plugin import SelfEvolutionKD


class Model(torch.nn.Module):
    def __init__(self, threshold):
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Linear(4, 6)
        self.head = torch.nn.Linear(6, 11)
        self.criterion = SelfEvolutionKD(threshold=threshold)

    def forward(self, states, teacher, targets, linear):
        hidden = torch.tanh(self.body(states))
        if linear:
            return self.criterion.forward_linear(
                hidden,
                self.head.weight,
                targets=targets,
                teacher_logits=teacher,
                student_bias=self.head.bias,
            ).loss
        return self.criterion(self.head(hidden), teacher, targets).loss


@pytest.mark.parametrize("threshold", [{"name": "top_k", "config": {"ratio": 0.3}}], ids=str)
@pytest.mark.parametrize("linear", [False, True])
def test_a_compiled_model_learns_what_it_learns_uncompiled(threshold, linear):
    def learn(compiled):
        torch._dynamo.reset()
        model = Model(threshold)
        run = torch.compile(model, backend="eager") if compiled else model
        found = []
        for seed in range(3):
            torch.manual_seed(seed)
            teacher, targets = torch.randn(7, 11), torch.randint(0, 11, (7,))
            loss = run(torch.randn(7, 4), teacher, targets, linear)
            loss.backward()
            model.criterion.step()
            found.append(loss.detach())
        return torch.stack(found), model.criterion.threshold.gamma, model.body.weight.grad

    for ours, theirs in zip(learn(True), learn(False), strict=True):
        if ours is not None:
            torch.testing.assert_close(ours, theirs)
