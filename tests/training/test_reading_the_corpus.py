"""From files of sentence pairs to steps of batches."""

import gzip
import json
import lzma

import numpy as np
import pytest
import yaml
from fairseq2.gang import FakeGang, Gangs
from hypothesis import given
from hypothesis import strategies as st

from sekd_plugin.corpus import PromptTemplate, read_pairs
from sekd_plugin.errors import ConfigError
from sekd_plugin.toolkits.fairseq2.batching import plan_epoch
from sekd_plugin.toolkits.fairseq2.dataset import EncodedCorpus, collate, encode_corpus
from sekd_plugin.toolkits.fairseq2.prompts import PromptedPairs
from sekd_plugin.toolkits.fairseq2.reader import CorpusReader
from sekd_plugin.toolkits.fairseq2.sections import CorpusFileSection

LENGTHS = st.lists(st.integers(2, 60), min_size=1, max_size=80)


def corpus_of(lengths, weights=None):
    corpus = EncodedCorpus()
    for number, length in enumerate(lengths):
        corpus.prompts.append([1] * (length - 1))
        corpus.targets.append([2])
        corpus.places.append(("file", number + 1))
        corpus.weights.append(1.0 if weights is None else weights[number])
    return corpus


@given(LENGTHS, st.integers(1, 200), st.integers(1, 6), st.booleans())
def test_an_epoch_holds_every_example_once_in_steps_of_equally_many_batches(
    lengths, batch_tokens, batches_per_step, shuffle
):
    generator = np.random.default_rng(0) if shuffle else None
    arguments = {
        "batch_tokens": batch_tokens,
        "batches_per_step": batches_per_step,
        "generator": generator,
    }
    if len(lengths) < batches_per_step:
        with pytest.raises(ConfigError, match="fewer than"):
            plan_epoch(lengths, **arguments)
        return
    plan = plan_epoch(lengths, **arguments)
    assert sorted(e for step in plan for batch in step for e in batch) == list(range(len(lengths)))
    assert all(len(step) == batches_per_step for step in plan)
    assert all(batch for step in plan for batch in step)
    batches = [batch for step in plan for batch in step]
    too_large = [
        batch
        for batch in batches
        if len(batch) > 1 and len(batch) * max(lengths[e] for e in batch) > batch_tokens
    ]
    if too_large:  # only where the sentences do not suffice for another batch on each rank
        assert len(batches) == len(lengths) // batches_per_step * batches_per_step


def test_an_epoch_that_does_not_come_out_even_keeps_to_the_most_tokens_in_a_batch():
    lengths = [100] * 15 + [250] * 6
    plan = plan_epoch(lengths, batch_tokens=1536, batches_per_step=3, generator=None)
    assert [len(step) for step in plan] == [3]
    for batch in plan[0]:
        assert len(batch) * max(lengths[e] for e in batch) <= 1536


def test_sentences_that_fill_a_batch_alone_share_one_only_where_ranks_would_be_idle():
    plan = plan_epoch([90, 70, 80, 60, 50], batch_tokens=90, batches_per_step=2, generator=None)
    assert sorted(len(batch) for step in plan for batch in step) == [1, 1, 1, 2]
    assert [3, 4] in [sorted(batch) for step in plan for batch in step]


@given(LENGTHS.filter(lambda lengths: len(lengths) >= 4), st.integers(1, 3))
def test_ranks_share_a_step_that_does_not_depend_on_how_many_they_are(lengths, epochs):
    corpus = corpus_of(lengths)

    def sentences(num_ranks, num_accumulate):
        seen = []
        readers = [
            CorpusReader(
                corpus,
                gangs(rank, num_ranks),
                batch_tokens=64,
                pad_index=0,
                num_accumulate=num_accumulate,
                seed=5,
            )
            for rank in range(num_ranks)
        ]
        for _ in range(epochs):
            while True:
                try:
                    batches = [batch for reader in readers for batch in next(reader)]
                except StopIteration:
                    break
                seen.append(sorted(place for batch in batches for place in batch.example))
            for reader in readers:
                reader.reset()
        return seen

    assert sentences(1, 4) == sentences(2, 2) == sentences(4, 1)


def gangs(rank, size):
    import torch

    device = torch.device("cpu")
    one = FakeGang(device=device)
    many = FakeGang(device=device, rank=rank, size=size)
    return Gangs(root=many, dp=many, rdp=many, sdp=one, tp=one, pp=one)


@given(LENGTHS, st.integers(0, 40))
def test_a_reader_picks_up_where_its_state_was_taken(lengths, steps):
    def make():
        return CorpusReader(corpus_of(lengths), gangs(0, 1), batch_tokens=64, pad_index=0, seed=3)

    def read(reader):
        try:
            return [batch.example for batch in next(reader)]
        except StopIteration:
            reader.reset()
            return "end"

    first, second = make(), make()
    for _ in range(steps):
        read(first)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [read(first) for _ in range(20)] == [read(second) for _ in range(20)]


def test_two_epochs_have_orders_of_their_own_and_a_seed_repeats_them():
    def orders(seed):
        reader = CorpusReader(
            corpus_of([5] * 40), gangs(0, 1), batch_tokens=10, pad_index=0, seed=seed
        )
        found = []
        for _ in range(2):
            found.append([batch.example for step in iter(reader) for batch in step])
            reader.reset()
        return found

    assert orders(1) == orders(1)
    assert orders(1)[0] != orders(1)[1]
    assert orders(1) != orders(2)


def test_a_weight_says_how_often_an_epoch_sees_a_sentence():
    corpus = corpus_of([4] * 3000, weights=[2.0] * 1000 + [1.0] * 1000 + [0.25] * 1000)
    reader = CorpusReader(corpus, gangs(0, 1), batch_tokens=400, pad_index=0, seed=1)
    lines = [line for step in reader for batch in step for _, line in batch.example]
    times = np.bincount(lines, minlength=3001)[1:]
    assert set(times[:1000]) == {2}
    assert set(times[1000:2000]) == {1}
    assert set(times[2000:]) == {0, 1}
    assert times[2000:].mean() == pytest.approx(0.25, abs=0.05)


def test_an_epoch_of_which_chance_chose_too_little_takes_the_heaviest_sentences_too():
    found = set()
    for seed in range(40):
        reader = CorpusReader(
            corpus_of([4] * 4, weights=[0.5, 0.1, 0.8, 1.6]),
            gangs(0, 1),
            batch_tokens=100,
            pad_index=0,
            num_accumulate=3,
            seed=seed,
        )
        (step,) = list(reader)
        found.add(tuple(sorted(line for batch in step for _, line in batch.example)))
    few = {lines for lines in found if len(lines) == 3}
    # By chance as few as (4,), (4, 4), (1, 4) …: filled up by 0.8 first, then by 0.6, then 0.5.
    assert few <= {(3, 4, 4), (1, 3, 4), (2, 3, 4), (1, 4, 4), (2, 4, 4), (1, 2, 4)}
    assert (3, 4, 4) in few


def test_a_corpus_too_small_for_one_step_is_refused(workshop):
    train = yaml.safe_load(workshop.recipe.read_text())["dataset"]["train"][0]["path"]
    error = workshop.train(
        "run", f"dataset.train=[{{path: {train}, weight: 0.001}}]", "dataset.valid=[]", expect=2
    )
    assert error.splitlines()[-1] == (
        "sekd train: dataset.train: sentences times their weights are 0.12; a step needs 1 or more "
        "(ranks × trainer.grad_accumulation.num_batches)"
    )
    assert not (workshop.folder / "run").exists()


def test_a_validation_set_smaller_than_the_number_of_ranks_is_refused():
    with pytest.raises(ConfigError, match=r"dataset.valid: sentences .* 1; a step needs 2"):
        CorpusReader(corpus_of([4]), gangs(1, 2), batch_tokens=8, pad_index=0, key="dataset.valid")


def test_the_loss_falls_on_target_tokens_only():
    corpus = EncodedCorpus(
        prompts=[[1, 10, 11], [1, 12]],
        targets=[[20, 2], [21, 22, 23, 2]],
        places=[("f", 1), ("f", 2)],
        weights=[1.0, 1.0],
    )
    batch = collate(corpus, [0, 1], pad_index=3)
    inputs, targets = batch.as_auto_regressive()
    assert batch.seqs.tolist() == [[1, 10, 11, 20, 2, 3], [1, 12, 21, 22, 23, 2]]
    assert targets.seqs[targets.target_mask].tolist() == [20, 2, 21, 22, 23, 2]
    assert inputs.seqs[targets.target_mask].tolist() == [11, 20, 12, 21, 22, 23]


def test_formats_and_directions_give_the_same_pairs_as_training_reads(shared_folder, tmp_path):
    pairs = [(pair.source, pair.target) for pair in read_pairs(shared_folder / "valid.jsonl")]
    tsv = tmp_path / "valid.tsv.gz"
    tsv.write_bytes(gzip.compress("".join(f"{s}\t{t}\n" for s, t in pairs).encode()))
    source, target = tmp_path / "valid.en.xz", tmp_path / "valid.de.xz"
    source.write_bytes(lzma.compress("".join(f"{s}\n" for s, _ in pairs).encode()))
    target.write_bytes(lzma.compress("".join(f"{t}\n" for _, t in pairs).encode()))

    tokenizer = tokenizer_of(shared_folder)

    def encoded(**file):
        corpus = encode_corpus(
            [CorpusFileSection(**file)],
            key="dataset.train",
            encodings=[PromptedPairs(tokenizer, PromptTemplate("{source}\n"))],
        )
        return list(zip(corpus.prompts, corpus.targets, strict=True))

    forward = encoded(path=shared_folder / "valid.jsonl")
    assert encoded(path=tsv) == forward
    assert encoded(path=source, target_path=target) == forward
    swapped = {"source_field": "tgt", "target_field": "src"}
    backward = encoded(path=shared_folder / "valid.jsonl", **swapped)
    assert encoded(path=tsv, **swapped) == backward != forward


def tokenizer_of(shared_folder):
    from fairseq2.data.tokenizers import TokenizerFamily
    from fairseq2.runtime.dependency import get_dependency_resolver

    family = get_dependency_resolver().resolve(TokenizerFamily, key="llama")
    device_gangs = gangs(0, 1)
    return family.load_custom_tokenizer(
        shared_folder / "vocabulary.model", family.config_kls(), device_gangs
    )


def test_pairs_over_the_length_limits_are_dropped_and_counted(workshop):
    log = workshop.train("run", "dataset.max_target_tokens=8", "dataset.max_source_tokens=22")
    line = next(line for line in log.splitlines() if "Corpus (train)" in line)
    assert "target longer than 8 tokens" in line
    assert "prompt longer than 22 tokens" in line
    kept = int(line.split(" - ")[-1].split(" pairs")[0])
    dropped = [int(part.split()[0]) for part in line.split("dropped: ")[1].split(", ")]
    assert kept + sum(dropped) == 120


def longest_input(shared_folder, split):
    corpus = encode_corpus(
        [CorpusFileSection(path=shared_folder / f"{split}.jsonl")],
        key="",
        encodings=[
            PromptedPairs(tokenizer_of(shared_folder), PromptTemplate("to German: {source}\n"))
        ],
    )
    lengths = corpus.lengths()
    return max(lengths) - 1, lengths.index(max(lengths)) + 1


def test_training_pairs_longer_than_a_model_takes_are_dropped_and_counted(taught, shared_folder):
    most, _ = longest_input(shared_folder, "train")
    settings = ("dataset.valid=[]", "regime.num_steps=1")
    size = "model.config_overrides.max_seq_len"
    assert "dropped: none" in taught.train("fits", *settings, f"{size}={most}")
    log = taught.train("short", *settings, f"{size}={most - 1}")
    assert f"longer than the {most - 1} tokens that the student takes" in log

    teacher = taught.teacher("teacher", 8).replace(
        '"max_seq_len": 128', f'"max_seq_len": {most - 1}'
    )
    log = taught.train("taught", *settings, "criterion.name=word_kd", teacher)
    assert f"longer than the {most - 1} tokens that the teacher takes" in log


def test_a_validation_pair_longer_than_the_model_takes_is_named_before_training(
    workshop, shared_folder
):
    most, line = longest_input(shared_folder, "valid")
    error = workshop.train("run", f"model.config_overrides.max_seq_len={most - 1}", expect=2)
    assert error.splitlines()[-1].endswith(
        f"valid.jsonl, line {line}: prompt and translation are longer than the {most - 1} tokens "
        "that the student takes"
    )
    assert not (workshop.folder / "run").exists()


def test_when_no_pair_is_left_training_says_why(workshop):
    error = workshop.train("run", "dataset.max_target_tokens=1", expect=2)
    assert "no sentence pair is left of 120 (120 target longer than 1 tokens)" in error


def test_a_recipe_spoils_its_training_file_and_says_where_a_share_is_wrong(workshop, shared_folder):
    def train(run, noise, expect=0):
        file = {"path": str(shared_folder / "train.jsonl"), "noise": noise}
        return workshop.train(run, f"dataset.train={json.dumps([file])}", expect=expect)

    train("clean", None)
    train("none", {"misaligned": 0.0})
    train("noisy", {"misaligned": 0.5})
    losses = {run: workshop.metrics(run)[-1]["Loss"] for run in ("clean", "none", "noisy")}
    assert losses["none"] == losses["clean"] != losses["noisy"]
    error = train("wrong", {"misaligned": 1.5}, expect=2)
    assert error.startswith("sekd train: dataset.train.0.noise.misaligned: 1.5 is out of range")
    assert "did you mean" in train("unknown", {"misalignd": 0.5}, expect=2)
