"""An exported NLLB in ``transformers``: same special words, same logits, same translations."""

import torch
import transformers
from fairseq2.models.hg import get_hugging_face_converter, save_hugging_face_model
from fairseq2.nn import BatchLayout
from tiny_encoder_decoder import BEGIN, END, PAD, UNKNOWN, memorise, tiny_config, tiny_model

from sekd_plugin.toolkits.fairseq2.sequence_to_sequence.decoding import translate_sources

WORDS = 60
PREFIX = [END, 58]
SOURCES = [
    [57, *(4 + (7 * number + 3 * n) % 50 for n in range(2 + number)), UNKNOWN, END]
    for number in range(10)
]
THEIRS = {BEGIN: 0, PAD: 1, END: 2, UNKNOWN: 3}
"""The ids that every NLLB in ``transformers`` has for the first four words."""


def their_ids(words):
    return [THEIRS.get(word, word) for word in words]


def test_an_exported_nllb_is_the_same_model(tmp_path):
    settings = {"num_encoder_layers": 3, "model_dim": 24, "ffn_inner_dim": 40}
    targets = [[4 + (3 * n + m * m) % 50 for m in range(n % 7)] + [END] for n in range(10)]
    ours = memorise(tiny_model(WORDS, 5, **settings), SOURCES, targets, PREFIX)
    converter = get_hugging_face_converter("nllb")
    config = tiny_config(WORDS, **settings)
    state = converter.to_hg_state_dict(dict(ours.state_dict()), config)
    save_hugging_face_model(tmp_path / "hg", state, converter.to_hg_config(config))

    loading = transformers.AutoModelForSeq2SeqLM.from_pretrained
    theirs, info = loading(tmp_path / "hg", output_loading_info=True)
    theirs = theirs.eval()
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for found in (theirs.config, theirs.generation_config):
        special = (found.bos_token_id, found.pad_token_id, found.eos_token_id)
        assert special == (0, 1, 2) and found.decoder_start_token_id == 2

    order = torch.tensor(their_ids(range(WORDS)))
    translations = []
    for number, source in enumerate(SOURCES):
        read = [*PREFIX, 11 + number, 5, UNKNOWN]
        ours_in, ours_read = torch.tensor([source]), torch.tensor([read])
        with torch.no_grad():
            logits = ours(ours_in, BatchLayout.of(ours_in), ours_read, BatchLayout.of(ours_read))
            found = theirs(
                input_ids=torch.tensor([their_ids(source)]),
                decoder_input_ids=torch.tensor([their_ids(read)]),
            ).logits
        torch.testing.assert_close(found[..., order], logits, rtol=1e-4, atol=1e-4)

        (translation,) = translate_sources(
            ours,
            [torch.tensor(source)],
            prefixes=[PREFIX],
            eos_index=END,
            pad_index=PAD,
            max_length=9,
        )
        produced = theirs.generate(
            torch.tensor([their_ids(source)]),
            decoder_input_ids=torch.tensor([their_ids(PREFIX)]),
            do_sample=False,
            num_beams=1,
            max_new_tokens=9,
            suppress_tokens=[1],
        )[0, len(PREFIX) :].tolist()
        assert [word for word in produced if word != 2] == their_ids(translation)
        translations.append(tuple(translation))
    assert len(set(translations)) > 3
