"""Teachers, students and baselines train from one recipe; the criterion is a name."""

import json
from pathlib import Path

import pytest
import torch
from fairseq2.recipe.component import ComponentManager
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sekd_plugin import criteria, divergences, proxies, thresholds
from sekd_plugin.toolkits.fairseq2.extension import register_extension


@pytest.mark.parametrize("name", ["self_evolution_kd", "word_kd"])
def test_a_student_is_distilled_by_the_criterion_that_is_named(taught, name):
    log = taught.train("student", taught.teacher("teacher", 8), f"criterion.name={name}")

    first, last = taught.metrics("student")
    assert last["Loss"] < first["Loss"]
    assert 0.0 <= last["Teacher Agreement"] <= 1.0
    assert "Loss of Easy Tokens" in log
    assert ("Gamma" in last) == (name == "self_evolution_kd")


def test_the_divergence_threshold_and_proxy_are_chosen_on_the_command_line(taught):
    taught.train(
        "student",
        taught.teacher("teacher", 8),
        "criterion.name=self_evolution_kd",
        "criterion.config.divergence=reverse_kl",
        "criterion.config.difficulty={name: jensen_shannon, config: {beta: 0.3}}",
        "criterion.config.threshold={name: top_k, config: {ratio: 0.25, per: sentence}}",
        "criterion.config.proxy.name=log_linear",
        "criterion.config.beta={start: 0.9, end: 0.1, num_steps: 8}",
    )

    last = taught.metrics("student")[-1]
    assert last["Hard Ratio"] == pytest.approx(0.25, abs=0.05)
    assert last["Difficulty p99"] < 0.7  # Jensen–Shannon is bounded
    assert last["Beta"] == pytest.approx(0.9 - 0.8 * 7 / 8)


def test_every_metric_has_one_name_on_the_console_in_jsonl_and_in_tensorboard(taught):
    log = taught.train("student", taught.teacher("teacher", 8), "criterion.name=self_evolution_kd")

    expected = {
        "Loss", "Cross-Entropy", "Difficulty", "Difficulty p50", "Difficulty p90",
        "Difficulty p99", "Gamma", "Hard Ratio", "Loss of Hard Tokens", "Loss of Easy Tokens",
        "Teacher Agreement", "Tokens per Second",
    }  # fmt: skip
    assert expected <= set(taught.metrics("student")[-1])
    assert expected <= set(taught.metrics("student", "valid")[-1])
    line = next(line for line in log.splitlines() if "Train Metrics (step 8)" in line)
    assert all(f"{name}: " in line for name in expected)
    events = EventAccumulator(str(taught.folder / "student" / "tb" / "train"))
    events.Reload()
    assert expected <= set(events.Tags()["scalars"])


def test_a_metrics_file_holds_only_strict_json(workshop):
    workshop.train("run")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    for file in (workshop.folder / "run" / "metrics").rglob("*.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            json.loads(line, parse_constant=refuse)


def test_validation_keeps_a_histogram_of_every_target_tokens_difficulty(taught):
    taught.train("student", taught.teacher("teacher", 8), "criterion.name=self_evolution_kd")

    record = json.loads((taught.folder / "student" / "difficulty" / "step_8.json").read_text())
    valid = taught.metrics("student", "valid")[-1]
    assert sum(record["counts"]) == valid["Number of Target Elements"]
    middle = [low + 0.125 for low in record["edges"]]
    mean = sum(m * c for m, c in zip(middle, record["counts"], strict=True))
    assert mean / sum(record["counts"]) == pytest.approx(valid["Difficulty"], abs=0.125)


def test_bleu_on_the_validation_set_chooses_the_checkpoint_that_is_kept(workshop):
    log = workshop.train(
        "run",
        "translation={bleu: true, max_sentences: 10, max_target_tokens: 20}",
        "regime.score_metric=bleu",
        "regime.validate_every_n_steps=4",
        "regime.checkpoint_every_n_steps=4",
        "regime.keep_best_n_checkpoints=1",
    )

    assert [line["Step"] for line in workshop.metrics("run", "valid/bleu")] == [4, 8]
    assert "Score - Metric: BLEU" in log
    kept = sorted(path.name for path in (workshop.folder / "run" / "checkpoints").glob("step_*"))
    assert "step_8" in kept


def test_a_student_continues_from_a_native_checkpoint_and_from_a_hugging_face_folder(exported):
    start = exported.folder / "exported" / "checkpoints" / "step_8"

    exported.train("from_native", f"model.path={start / 'model'}", "regime.validate_at_start=true")
    exported.train("from_export", f"model.path={start / 'hg'}", "regime.validate_at_start=true")

    ended = exported.metrics("exported", "valid")[-1]["Loss"]
    for run in ("from_native", "from_export"):
        assert exported.metrics(run, "valid")[0]["Loss"] == pytest.approx(ended, rel=1e-5)


def test_the_exported_student_gives_the_same_logits_in_transformers(exported):
    transformers = pytest.importorskip("transformers")
    step = exported.folder / "exported" / "checkpoints" / "step_8"
    model = transformers.AutoModelForCausalLM.from_pretrained(step / "hg").eval()
    words = torch.tensor([[1, 7, 9, 30, 12]])

    state = torch.load(step / "model/pp_00/tp_00/sdp_00.pt", weights_only=True)
    ours = plain_llama(state, words, num_heads=2)

    torch.testing.assert_close(model(words).logits, ours, rtol=1e-4, atol=1e-4)


def plain_llama(state, words, num_heads):
    """A one-layer Llama, written out, over a fairseq2 checkpoint."""
    layer = "decoder.layers.0."

    def norm(x, name):
        return x * (x.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt() * state[name]

    def rotate(x):
        size = x.shape[-1]
        angles = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(0, size, 2) / size)
        even, odd = x[..., 0::2], x[..., 1::2]
        turned = (
            even * angles.cos() - odd * angles.sin(),
            even * angles.sin() + odd * angles.cos(),
        )
        return torch.stack(turned, -1).flatten(-2)

    def heads(x):
        return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    x = state["decoder_frontend.embed.weight"][words]
    y = norm(x, layer + "self_attn_layer_norm.weight")
    query, key, value = (
        heads(y @ state[f"{layer}self_attn.{name}_proj.weight"].T) for name in "qkv"
    )
    mixed = torch.nn.functional.scaled_dot_product_attention(
        rotate(query), rotate(key), value, is_causal=True
    )
    x = x + mixed.transpose(1, 2).flatten(-2) @ state[layer + "self_attn.output_proj.weight"].T
    y = norm(x, layer + "ffn_layer_norm.weight")
    gate = torch.nn.functional.silu(y @ state[layer + "ffn.gate_proj.weight"].T)
    inner = y @ state[layer + "ffn.inner_proj.weight"].T
    x = x + (gate * inner) @ state[layer + "ffn.output_proj.weight"].T
    return norm(x, "decoder.layer_norm.weight") @ state["final_proj.weight"].T


@pytest.mark.parametrize(
    "precision",
    ["{mode: auto, dtype: bfloat16}", "{mode: 'off', dtype: float32}"],
)
def test_training_runs_in_bf16_and_in_fp32(taught, precision):
    taught.train(
        "student",
        taught.teacher("teacher", 8),
        "criterion.name=self_evolution_kd",
        f"trainer.mixed_precision={precision}",
    )
    first, last = taught.metrics("student")
    assert last["Loss"] < first["Loss"]


def test_the_teacher_is_neither_trained_nor_in_training_mode(taught):
    before = {path: path.read_bytes() for path in taught.checkpoint("teacher", 8).rglob("*.pt")}
    teacher = taught.teacher("teacher", 8).replace('"pad_idx"', '"dropout_p": 0.5, "pad_idx"')

    taught.train("dropout", teacher, "criterion.name=word_kd")
    taught.train("plain", taught.teacher("teacher", 8), "criterion.name=word_kd")

    assert taught.metrics("dropout")[-1]["Loss"] == taught.metrics("plain")[-1]["Loss"]
    assert before == {path: path.read_bytes() for path in before}


def test_any_fairseq2_recipe_can_create_the_components_by_name():
    from fairseq2.recipe.component import _StandardComponentManager
    from fairseq2.runtime.dependency import DependencyContainer
    from fairseq2.utils.structured import StandardValueConverter

    container = DependencyContainer()
    register_extension(container)
    manager: ComponentManager = _StandardComponentManager(container, StandardValueConverter())

    for registry in (criteria, divergences, proxies):
        for name in registry.names():
            config = manager.structure_component_config(registry.base, name, {})
            created = manager.create_component(registry.base, name, config)
            assert type(created) is registry.get(name)
    config = manager.structure_component_config(thresholds.base, "top_k", {"ratio": 0.5})
    assert manager.create_component(thresholds.base, "top_k", config).ratio == 0.5


def test_the_recipe_is_printed_whole_with_its_defaults(workshop):
    from sekd_plugin.cli import main

    assert main(["train", "--dump-config", *workshop.arguments(["common.seed=7"])]) == 0
    printed = workshop.capture()[0]
    assert "seed: 7" in printed
    assert "max_target_tokens: 256" in printed
    assert not Path(workshop.folder / "run").exists()
