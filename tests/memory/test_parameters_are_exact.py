"""Every parameter that a plan counts is fairseq2's, and none of its is missing."""

import pytest
import torch
from fairseq2.gang import FakeGang, Gangs, create_fake_gangs
from fairseq2.models import ModelFamily
from fairseq2.nn.sharded import get_shard_dims
from fairseq2.recipe.config import ModelSection
from fairseq2.runtime.dependency import get_dependency_resolver

from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.model_config import model_config
from sekd_plugin.toolkits.fairseq2.model_shape import model_shape

TINY = {
    "model_dim": 24,
    "max_seq_len": 32,
    "vocab_size": 60,
    "num_layers": 3,
    "num_attn_heads": 6,
    "num_key_value_heads": 2,
    "ffn_inner_dim": 40,
}
TINY_PAIR = {
    "model_dim": 24,
    "max_seq_len": 32,
    "vocab_size": 61,
    "num_encoder_layers": 3,
    "num_decoder_layers": 2,
    "num_encoder_attn_heads": 4,
    "num_decoder_attn_heads": 2,
    "ffn_inner_dim": 40,
}
TIED = {"tied_embeddings": True, "shard_embed_dim": False}
MODELS = {
    "llama": ("llama", {}),
    "llama_rounded": ("llama", {"ffn_inner_dim_multiple_of": 7, "ffn_inner_dim_multiplier": 1.3}),
    "llama_unscaled": ("llama", {"ffn_inner_dim_scale": 1.0, "ffn_inner_dim_multiple_of": 1}),
    "llama_tied": ("llama", TIED),
    "llama_of_long_sentences": ("llama", {"use_scaled_rope": True, "max_seq_len": 100}),
    "llama_cut_by_words": ("llama", {"shard_embed_dim": False}),
    "qwen_with_bias": ("qwen", {}),
    "qwen_with_norms": ("qwen", {"q_norm": True, "k_norm": True, "qkv_proj_bias": False}),
    "qwen_wide_heads": ("qwen", {"head_dim": 10, "tied_embeddings": True}),
    "mistral": ("mistral", {}),
    "olmo": ("olmo", {"pad_idx": 0}),
    "olmo_windowed": ("olmo", {"pad_idx": 0, "sliding_window": 8, "yarn_scale_config": {}}),
    "olmo_tied": ("olmo", {"pad_idx": 0, **TIED}),
    "nllb": ("nllb", {}),
    "nllb_of_more_heads": ("nllb", {"num_encoder_attn_heads": 6, "num_decoder_attn_heads": 4}),
}


def tiny(family):
    """Settings of a tiny model of a family."""
    return TINY_PAIR if family == "nllb" else TINY


def shape_of(family, **section):
    return model_shape("model", ModelSection(family=family, **section), get_dependency_resolver())


def built(family, overrides, gangs):
    """The model of fairseq2, without its numbers."""
    section = ModelSection(family=family, config_overrides=overrides)
    resolver = get_dependency_resolver()
    config = model_config("model", section, resolver)[1]
    return resolver.resolve(ModelFamily, key=family).create_new_model(
        config, gangs, torch.float32, meta=True, init_rank0_only=True
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_the_name_and_shape_it_has_in_the_model(name):
    family, overrides = MODELS[name]
    model = built(family, tiny(family) | overrides, create_fake_gangs(torch.device("cpu")))
    shape = shape_of(family, config_overrides=tiny(family) | overrides)

    found = {weight.name: weight.shape for weight in shape.weights()}
    assert found == {key: tuple(value.shape) for key, value in model.named_parameters()}
    assert shape.num_parameters == sum(value.numel() for value in model.parameters())
    assert shape.table_bytes == sum(buffer.nbytes for buffer in model.buffers())


@pytest.mark.parametrize(
    "name", [name for name in MODELS if "tied" not in name and "wide" not in name]
)
def test_tensor_parallel_ranks_hold_what_fairseq2_gives_them(name):
    family, overrides = MODELS[name]
    cpu = torch.device("cpu")
    alone = FakeGang(cpu)
    two = FakeGang(cpu, rank=0, size=2)
    gangs = Gangs(root=two, dp=alone, rdp=alone, sdp=alone, tp=two, pp=alone)
    overrides = tiny(family) | {"ffn_inner_dim_multiple_of": 8} | overrides
    if family != "llama":
        overrides.pop("ffn_inner_dim_multiple_of")
    if overrides.get("ffn_inner_dim_multiple_of") == 7:
        overrides["ffn_inner_dim_multiple_of"] = 14
    model = built(family, overrides, gangs)
    shape = shape_of(family, config_overrides=overrides)

    found = {weight.name: weight.on_rank(2) for weight in shape.weights()}
    assert found == {key: tuple(value.shape) for key, value in model.named_parameters()}
    divided = {weight.name: weight.divided for weight in shape.weights()}
    assert {key: dim for key, dim in divided.items() if dim is not None} == get_shard_dims(model)


PUBLISHED = {
    ("llama", "7b"): 6_738_415_616,
    ("llama", "33b"): 32_528_943_616,
    ("llama", "65b"): 65_285_660_672,
    ("llama", "llama2_7b"): 6_738_415_616,
    ("llama", "llama2_70b"): 68_976_648_192,
    ("llama", "llama3_8b"): 8_030_261_248,
    ("llama", "llama3_1_70b"): 70_553_706_496,
    ("llama", "llama3_2_1b"): 1_235_814_400,
    ("llama", "llama3_2_3b"): 3_212_749_824,
    ("mistral", "7b"): 7_241_732_096,
    ("qwen", "qwen25_1_5b"): 1_543_714_304,
    ("qwen", "qwen25_7b"): 7_615_616_512,
    ("qwen", "qwen3_8b"): 8_190_735_360,
    ("olmo", "olmo2_7b"): 7_298_617_344,
    ("nllb", "dense_600m"): 615_073_792,
    ("nllb", "dense_1b"): 1_370_638_336,
    ("nllb", "dense_3b"): 3_344_863_232,
}
"""What the publishers' checkpoints hold."""


@pytest.mark.parametrize(("family", "arch"), PUBLISHED)
def test_an_architecture_has_as_many_parameters_as_were_published(family, arch):
    assert shape_of(family, arch=arch).num_parameters == PUBLISHED[family, arch]


@pytest.mark.parametrize("arch", ["13b", "llama2_13b"])
def test_13b_has_the_published_number_with_the_layers_that_fairseq2_forgets(arch):
    whole = shape_of("llama", arch=arch, config_overrides={"num_layers": 40})
    assert whole.num_parameters == 13_015_864_320
    assert shape_of("llama", arch=arch).num_layers == 32, "fairseq2 has mended its architecture"


def test_a_model_that_fairseq2_knows_by_name_is_planned_by_its_name():
    section = ModelSection(name="llama3_8b")
    shape = model_shape("model", section, get_dependency_resolver())
    assert shape.num_parameters == 8_030_261_248


@pytest.mark.parametrize(
    ("section", "key", "allowed"),
    [
        ({"family": "lama"}, "model.family", "'llama'?"),
        ({"family": "wav2vec2"}, "model.family", "llama, qwen, mistral, olmo, nllb"),
        ({"family": "llama", "arch": "14b"}, "model.arch", "an architecture of llama"),
        ({"name": "llama_of_nobody"}, "model.name", "the name of a model"),
        (
            {"family": "llama", "config_overrides": {"num_layer": 2}},
            "model.config_overrides.num_layer",
            "'num_layers'?",
        ),
        (
            {"family": "llama", "config_overrides": {"num_key_value_heads": 5}},
            "model.config_overrides.num_key_value_heads",
            "num_attn_heads, 32",
        ),
        (
            {"family": "llama", "config_overrides": {"num_layers": 0}},
            "model.config_overrides.num_layers",
            "0 is out of range",
        ),
        (
            {"family": "nllb", "config_overrides": {"num_decoder_layers": 0}},
            "model.config_overrides.num_decoder_layers",
            "0 is out of range",
        ),
    ],
)
def test_a_model_that_cannot_be_planned_is_refused_by_its_key(section, key, allowed):
    with pytest.raises(ConfigError) as caught:
        model_shape("model", ModelSection(**section), get_dependency_resolver())
    assert caught.value.key == key
    assert allowed in caught.value.problem
