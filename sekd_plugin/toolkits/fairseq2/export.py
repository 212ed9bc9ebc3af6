"""Mends the Hugging Face export, which fairseq2 fills in from the published models.

Its exporters take the special tokens from published models or leave them out, leave out the width
of the heads and the kinds of layers, and write the base of the rotary positions where
``transformers`` does not look.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fairseq2.data.tokenizers import Tokenizer
from fairseq2.logging import log
from fairseq2.models.olmo.yarn_rope import YaRNRotaryEncoder
from fairseq2.models.transformer_lm import TransformerLM
from torch.nn import Module

if TYPE_CHECKING:  # fairseq2.trainer cannot be imported before fairseq2.recipe
    from fairseq2.trainer import TrainStepHook, TrainStepHookArgs

_NORMED_QUERIES = {"qwen2": False, "qwen3": True}
"""Whether a kind of model of ``transformers`` normalises queries and keys, where one may choose."""

LONGEST_TRANSLATION = 256
"""Words, as ``sekd translate`` has it unless told otherwise; ``transformers`` would stop at 20."""


class ExportMending(Protocol):
    """What the files of an export should say."""

    def problem(self, config: Mapping[str, Any]) -> str | None:
        """Why ``transformers`` would compute another model by this ``config.json``, if it would."""
        ...

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """``config.json``, corrected."""
        ...

    def beside(self) -> dict[str, dict[str, Any]]:
        """Other files of the folder → what they say."""
        ...


class DecoderMending:
    """The exports of decoder-only models."""

    def __init__(self, model: TransformerLM, tokenizer: Tokenizer) -> None:
        """What is exported.

        Args:
            model: the model.
            tokenizer: its vocabulary, where the special tokens' ids come from.
        """
        self._model = model
        self._words = special_words(tokenizer)

    def problem(self, config: Mapping[str, Any]) -> str | None:
        """Why ``transformers`` would compute another model, if it would."""
        return why_not_the_same(self._model, config)

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The vocabulary's special tokens, and what fairseq2 leaves out or puts elsewhere."""
        return _for_transformers(self._model, config) | self._words | _sizes(self._model)

    def beside(self) -> dict[str, dict[str, Any]]:
        """The search of ``sekd translate``."""
        return {"generation_config.json": generation_settings(self._words)}


def mend_exports(output_folder: Path, mending: ExportMending) -> TrainStepHook:
    """A hook that corrects ``checkpoints/step_N/hg/config.json`` after an export.

    It writes ``generation_config.json`` beside it, with which ``generate`` ends a translation and
    leaves out the words that ``sekd translate`` leaves out. An export that ``transformers`` would
    compute otherwise is removed, and the log says why.

    Args:
        output_folder: the run's folder.
        mending: what the files should say.
    """

    def mend(args: TrainStepHookArgs) -> None:
        folder = output_folder / "checkpoints" / f"step_{args.step_nr}" / "hg"
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        problem = mending.problem(config)
        if problem is not None:
            log.error("The export of step {} is removed: {}", args.step_nr, problem)
            shutil.rmtree(folder)
            return
        _write(folder / "config.json", mending.config(config))
        for name, content in mending.beside().items():
            _write(folder / name, content)

    return mend


def special_words(tokenizer: Tokenizer) -> dict[str, int | None]:
    """The ids of the vocabulary's special pieces, by the names that ``transformers`` gives them."""
    info = tokenizer.vocab_info
    return {
        "bos_token_id": info.bos_idx,
        "eos_token_id": info.eos_idx,
        "pad_token_id": info.pad_idx,
    }


def generation_settings(words: Mapping[str, int | None]) -> dict[str, Any]:
    """What ``generation_config.json`` says: greedy search, its end, and words never produced."""
    end = words["eos_token_id"]
    never = {words["bos_token_id"], words["pad_token_id"]} - {None, end}
    settings: dict[str, Any] = {
        **words,
        "do_sample": False,
        "max_new_tokens": LONGEST_TRANSLATION,
    }
    if never:
        settings["suppress_tokens"] = sorted(word for word in never if word is not None)
    return settings


def why_not_the_same(model: TransformerLM, config: Mapping[str, Any]) -> str | None:
    """Why ``transformers`` would compute other logits than fairseq2, or None if it would not.

    Args:
        model: the model that was exported.
        config: what the exporter wrote of it.
    """
    kind = config.get("model_type")
    normed = _NORMED_QUERIES.get(str(kind))
    scaling = config.get("rope_scaling")
    is_scaled = isinstance(scaling, Mapping) and scaling.get("rope_type") == "yarn"
    for attention in _attentions(model):
        norms = [getattr(attention, name, None) is not None for name in ("q_norm", "k_norm")]
        if normed is not None and norms != [normed, normed]:
            return (
                f"{kind} {'has' if normed else 'has no'} q_norm and k_norm, the model q_norm: "
                f"{norms[0]}, k_norm: {norms[1]}; qkv_proj_bias: true goes without both, "
                "false with both"
            )
        if isinstance(_positions(attention), YaRNRotaryEncoder) != is_scaled:
            return "yarn_scale_config has no effect without sliding_window"
        if is_scaled and _window(attention) is not None:
            return (
                "fairseq2 scales the positions of layers with a sliding window too, and "
                "transformers does not; leave yarn_scale_config out, or make every layer of "
                "layer_types 'full_attention'"
            )
    return None


def _sizes(model: TransformerLM) -> dict[str, object]:
    layer = next(iter(model.decoder.layers.children()))
    inner = getattr(getattr(getattr(layer, "ffn", None), "inner_proj", None), "output_dim", None)
    head = getattr(getattr(layer, "self_attn", None), "head_dim", None)
    sizes = {"intermediate_size": inner, "head_dim": head}
    return {name: size for name, size in sizes.items() if isinstance(size, int)}


def _for_transformers(model: TransformerLM, config: Mapping[str, Any]) -> dict[str, Any]:
    """``rope_theta`` stands beside the scaling, not in it; as many kinds of layers as layers."""
    mended = dict(config)
    if "layer_types" in mended:
        mended["layer_types"] = [
            "full_attention" if _window(attention) is None else "sliding_attention"
            for attention in _attentions(model)
        ]
    scaling = mended.get("rope_scaling")
    if isinstance(scaling, Mapping) and "rope_theta" in scaling:
        rest = dict(scaling)
        mended["rope_theta"] = rest.pop("rope_theta")
        mended["rope_scaling"] = None if rest.get("rope_type") == "default" else rest
    return mended


def _attentions(model: TransformerLM) -> list[Module]:
    layers = model.decoder.layers.children()
    return [attention for layer in layers if (attention := getattr(layer, "self_attn", None))]


def _positions(attention: Module) -> object:
    return getattr(attention, "pos_encoder", None) or getattr(attention, "rope_encoder", None)


def _window(attention: Module) -> object:
    bias = getattr(getattr(attention, "sdpa", None), "bias", None)
    return getattr(bias, "attn_window_len", None)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(file)
