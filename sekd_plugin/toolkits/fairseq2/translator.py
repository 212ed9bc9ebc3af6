"""A trained model with its vocabulary and prompt, ready to translate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from fairseq2.data.tokenizers import Tokenizer, TokenizerFamily
from fairseq2.gang import create_fake_gangs
from fairseq2.model_checkpoint import CorruptModelCheckpointError
from fairseq2.models import ModelFamily
from fairseq2.models.clm import CausalLM
from fairseq2.runtime.dependency import get_dependency_resolver
from fairseq2.utils.structured import StandardValueConverter

from sekd_plugin.corpus import PromptTemplate
from sekd_plugin.errors import ConfigError, SekdError, did_you_mean
from sekd_plugin.progress import Progress, SilentProgress
from sekd_plugin.toolkits.fairseq2.decoding import translate_prompts
from sekd_plugin.toolkits.fairseq2.preflight import check_checkpoint, read_yaml
from sekd_plugin.toolkits.fairseq2.prompts import encode_prompt
from sekd_plugin.toolkits.fairseq2.vocabulary import check_vocabulary, padding_index

_MODEL_FAMILY: type[ModelFamily] = ModelFamily
_TOKENIZER_FAMILY: type[TokenizerFamily] = TokenizerFamily


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How to search for a translation."""

    beam_size: int = 1
    """1 is greedy."""

    length_penalty: float = 1.0
    """The power of the length that a hypothesis's log-probability is divided by."""

    max_target_tokens: int = 256
    """Where a translation without an end is cut off."""

    batch_tokens: int = 8192
    """The most prompt tokens in a batch; it changes speed and memory only."""


@dataclass(frozen=True, kw_only=True)
class Translator:
    """A model that translates sentences."""

    model: CausalLM
    """The model, in evaluation mode."""

    tokenizer: Tokenizer
    """Its vocabulary."""

    template: PromptTemplate
    """The prompt it was trained with."""

    checkpoint: Path
    """The folder its weights were read from."""

    device: torch.device
    """Where it runs."""

    def translate(
        self,
        sources: Sequence[str],
        options: DecodingOptions | None = None,
        progress: Progress | None = None,
    ) -> list[str]:
        """Translate sentences, in order; an empty one stays empty.

        Raises:
            SekdError: a sentence is too long for the model; it names the sentence.
        """
        options = options or DecodingOptions()
        full = [number for number, source in enumerate(sources) if source.strip()]
        prompts = [
            torch.tensor(
                encode_prompt(self.tokenizer, self.template, sources[number]), device=self.device
            )
            for number in full
        ]
        info = self.tokenizer.vocab_info
        if info.eos_idx is None:
            raise ConfigError("tokenizer", "has no end-of-sequence piece")
        ticks = iter((progress or SilentProgress()).track(range(len(full)), "sentences", len(full)))
        found = translate_prompts(
            self.model,
            prompts,
            eos_index=info.eos_idx,
            pad_index=padding_index(self.tokenizer),
            max_length=options.max_target_tokens,
            beam_size=options.beam_size,
            length_penalty=options.length_penalty,
            banned=[] if info.bos_idx is None else [info.bos_idx],
            batch_tokens=options.batch_tokens,
            names=[f"sentence {number + 1}" for number in full],
            progress=lambda count: [next(ticks, None) for _ in range(count)],
        )
        next(ticks, None)
        decode = self.tokenizer.create_decoder(skip_special_tokens=True)
        translations = [""] * len(sources)
        for number, ids in zip(full, found, strict=True):
            text = decode(torch.tensor(ids, dtype=torch.int64))
            translations[number] = " ".join(text.split())
        return translations


def load_translator(name: str, *, device: str | None = None) -> Translator:
    """The model of a training run.

    Args:
        name: the run's folder, or ``FOLDER@step_N``, ``FOLDER@best``, ``FOLDER@last``. Without a
            choice it is the last checkpoint.
        device: ``cpu``, ``cuda`` or ``cuda:N``; None takes CUDA where there is one.

    Raises:
        SekdError: there is no such run or checkpoint, or its parts do not fit together.
    """
    where = _device(device)
    folder, _, choice = name.partition("@")
    run = Path(folder)
    checkpoint = _checkpoint(run, choice or "last")
    config = cast("dict[str, Any]", read_yaml(run / "config.yaml"))
    section = config["tokenizer"]
    if section.get("path") is None:
        raise ConfigError("tokenizer.path", f"is not set in {run / 'config.yaml'}")
    tokenizer = load_tokenizer(section["family"], Path(section["path"]), where)
    model = _load_model(run / "checkpoints" / "model.yaml", checkpoint, where)
    check_vocabulary("model", model, tokenizer)
    return Translator(
        model=model,
        tokenizer=tokenizer,
        template=PromptTemplate(config["dataset"]["template"]),
        checkpoint=checkpoint,
        device=where,
    )


def load_exported(
    folder: Path, *, family: str, tokenizer: Path, template: str, device: str | None = None
) -> Translator:
    """A model exported for Hugging Face, with the vocabulary and prompt that go with it.

    Args:
        folder: what ``regime.export_hugging_face`` wrote, ``checkpoints/step_N/hg``.
        family: the model family of fairseq2, ``llama`` for example.
        tokenizer: the SentencePiece file.
        template: the prompt.
        device: as for :func:`load_translator`.

    Raises:
        SekdError: a part is missing or does not fit.
    """
    where = _device(device)
    check_checkpoint("model", folder)
    record = folder.parent.parent / "model.yaml"
    if not record.is_file():
        raise SekdError(f"{record} is missing; it says of what shape the exported model is")
    pieces = load_tokenizer(family, tokenizer, where)
    model = _load_model(record, folder, where)
    check_vocabulary("model", model, pieces)
    return Translator(
        model=model,
        tokenizer=pieces,
        template=PromptTemplate(template),
        checkpoint=folder,
        device=where,
    )


def load_tokenizer(family: str, path: Path, device: torch.device) -> Tokenizer:
    """A vocabulary from its file.

    Raises:
        SekdError: the file or the family is unknown, or the file is not a vocabulary.
    """
    families = {str(name) for name in get_dependency_resolver().iter_keys(_TOKENIZER_FAMILY)}
    if family not in families:
        raise ConfigError(
            "tokenizer.family", f"'{family}' is not known; {did_you_mean(family, families)}"
        )
    if not path.exists():
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise SekdError(f"the tokenizer {path} does not exist; {did_you_mean(path.name, near)}")
    found = get_dependency_resolver().resolve(_TOKENIZER_FAMILY, key=family)
    try:
        return found.load_custom_tokenizer(path, found.config_kls(), create_fake_gangs(device))
    except Exception as error:
        raise SekdError(f"{path} is not a vocabulary of the family {family}: {error}") from None


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            "device", f"'{name}' is not a device; write cpu, cuda or cuda:0"
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device", f"{name} was asked for, but no CUDA device is found")
    return device


def _checkpoint(run: Path, choice: str) -> Path:
    if not run.is_dir():
        near = [path.name for path in run.parent.iterdir()] if run.parent.is_dir() else []
        raise SekdError(f"{run} is not a folder; {did_you_mean(run.name, near)}")
    if not (run / "config.yaml").is_file():
        raise SekdError(f"{run} is not a training run's folder: it has no config.yaml")
    folder = run / "checkpoints"
    steps = {
        f"step_{path.name.removeprefix('step_')}": int(path.name.removeprefix("step_"))
        for path in folder.glob("step_*")
        if path.name.removeprefix("step_").isdigit() and (path / "model").is_dir()
    }
    if not steps:
        raise SekdError(f"{run} holds no checkpoint yet")
    ordered = sorted(steps, key=lambda name: steps[name])
    if choice == "best":
        scores = {
            name: float((folder / "scores" / f"{name}.txt").read_text())
            for name in ordered
            if (folder / "scores" / f"{name}.txt").is_file()
        }
        if not scores:
            raise SekdError(
                f"{run} holds no scored checkpoint; set regime.score_metric in its recipe, or name "
                f"one of {', '.join(ordered)}"
            )
        choice = max(scores, key=lambda name: scores[name])
    elif choice == "last":
        choice = ordered[-1]
    if choice not in steps:
        raise SekdError(
            f"{run} has no checkpoint '{choice}'; "
            f"{did_you_mean(choice, [*ordered, 'best', 'last'])}"
        )
    return folder / choice / "model"


def _load_model(record: Path, checkpoint: Path, device: torch.device) -> CausalLM:
    """The weights in ``checkpoint`` as a model of the shape that ``record`` describes."""
    described = cast("dict[str, Any]", read_yaml(record))
    family = get_dependency_resolver().resolve(_MODEL_FAMILY, key=described["model_family"])
    config = StandardValueConverter().structure(described["model_config"], family.config_kls)
    try:
        model = family.load_custom_model(
            checkpoint,
            config,
            create_fake_gangs(device),
            torch.float32,
            load_rank0_only=False,
            mmap=False,
            restrict=True,
        )
    except (CorruptModelCheckpointError, OSError) as error:
        raise SekdError(f"{checkpoint} cannot be loaded: {error}") from None
    model.eval()
    if not isinstance(model, CausalLM):
        raise SekdError(f"{checkpoint} holds a {type(model).__name__}, not a language model")
    return model
