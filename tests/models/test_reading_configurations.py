"""A folder of Hugging Face is read as what it is, or refused for what fairseq2 has not."""

import json

import pytest

from sekd_plugin.errors import DataError
from sekd_plugin.toolkits.fairseq2.hugging_face_shape import exported_shape

SIZES = {
    "hidden_size": 4096,
    "max_position_embeddings": 32768,
    "vocab_size": 32768,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
}


def read(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps({**SIZES, **settings}))
    return exported_shape(file, pad_idx=7)


def test_a_mistral_is_a_llama_as_long_as_its_window(tmp_path):
    later = {"model_type": "mistral", "rms_norm_eps": 1e-5, "rope_theta": 1e6, "head_dim": 128}
    family, shape = read(tmp_path, **later, sliding_window=None)
    assert (family, shape["rope_theta"], shape["max_seq_len"]) == ("llama", 1e6, 32768)
    assert (shape["ffn_inner_dim"], shape["ffn_inner_dim_scale"]) == (14336, 1.0)
    assert shape["pad_idx"] == 7
    assert read(tmp_path, **later, sliding_window=4096)[1]["max_seq_len"] == 4096


def test_qwens_are_told_apart_by_what_they_have(tmp_path):
    family, second = read(tmp_path, model_type="qwen2", rms_norm_eps=1e-6, rope_theta=1e6)
    assert family == "qwen" and second["qkv_proj_bias"] and "pad_idx" not in second
    family, third = read(tmp_path, model_type="qwen3", rms_norm_eps=1e-6, head_dim=128)
    assert family == "qwen" and not third["qkv_proj_bias"]
    assert third["q_norm"] and third["k_norm"] and third["head_dim"] == 128


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model_type": "gemma"}, "model_type is 'gemma'; it must be one of llama, mistral, qwen2"),
        ({"model_type": "llama", "rms_norm_eps": 1e-6}, "rms_norm_eps is 1e-06; fairseq2's Llama"),
        ({"model_type": "qwen2", "rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05; fairseq2's Qwen"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "use_sliding_window is True"),
        ({"model_type": "qwen3", "rope_scaling": {"rope_type": "yarn"}}, "rope_scaling is"),
        ({"model_type": "olmo2", "attention_bias": True}, "attention_bias is True"),
        ({"model_type": "olmo3", "rope_scaling": {"rope_type": "yarn"}}, "rope_scaling is"),
        ({"model_type": "mistral", "head_dim": 64}, "head_dim is 64; fairseq2's Llama"),
        ({"model_type": "llama", "vocab_size": "many"}, "vocab_size is 'many'"),
    ],
)
def test_what_fairseq2_computes_otherwise_is_refused_by_name(tmp_path, settings, words):
    with pytest.raises(DataError) as refused:
        read(tmp_path, **settings)
    assert words in str(refused.value) and "config.json" in str(refused.value)
