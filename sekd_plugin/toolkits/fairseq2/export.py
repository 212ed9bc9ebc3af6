"""Mends the Hugging Face export: fairseq2 fills in Llama's own sizes and special tokens.

Its exporter takes the width of the feed-forward layers and the ids of the special tokens from
the published Llama models, whatever the model at hand has.
"""

from __future__ import annotations

import json
from pathlib import Path

from fairseq2.data.tokenizers import Tokenizer
from fairseq2.models.transformer_lm import TransformerLM
from fairseq2.trainer import TrainStepHook, TrainStepHookArgs


def mend_exports(output_folder: Path, model: TransformerLM, tokenizer: Tokenizer) -> TrainStepHook:
    """A hook that corrects ``checkpoints/step_N/hg/config.json`` after an export.

    Args:
        output_folder: the run's folder.
        model: the exported model.
        tokenizer: its vocabulary, where the special tokens' ids come from.
    """
    info = tokenizer.vocab_info
    truth: dict[str, object] = {
        "bos_token_id": info.bos_idx,
        "eos_token_id": info.eos_idx,
        "pad_token_id": info.pad_idx,
    }
    layer = next(iter(model.decoder.layers.children()))
    inner = getattr(getattr(getattr(layer, "ffn", None), "inner_proj", None), "output_dim", None)
    if isinstance(inner, int):
        truth["intermediate_size"] = inner

    def mend(args: TrainStepHookArgs) -> None:
        file = output_folder / "checkpoints" / f"step_{args.step_nr}" / "hg" / "config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(config | truth, indent=2) + "\n", encoding="utf-8")
        partial.replace(file)

    return mend
