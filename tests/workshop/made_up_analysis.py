"""An analysis of sentences and models that are made up."""

from __future__ import annotations

import torch

from sekd_plugin import SelfEvolutionKD, divergences
from sekd_plugin.analysis.difficulty.analysis import Analysis, Checkpoint, Sentence
from sekd_plugin.analysis.difficulty.measuring import measure
from sekd_plugin.analysis.difficulty.token_table import TokenPlaces

END = 2
WORDS = [
    " the",
    " file",
    "s",
    " <b>&amp;",
    "</script>",
    " [[x]]",
    "ü",
    " o'\"k",
    " \\u003c",
    " end",
]
PIECES = {END: "<eos>", **{number: text for number, text in enumerate(WORDS, start=3)}}
VOCABULARY = 3 + len(WORDS)
NASTY = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)> & {{data}}"


def made_up_analysis(
    num_sentences: int = 40, *, checkpoints: int = 3, shown: int = 2000, **settings: object
) -> Analysis:
    """Random logits; a student that comes nearer to its teacher from checkpoint to checkpoint."""
    generator = torch.Generator().manual_seed(7)
    lengths = torch.randint(2, 12, (num_sentences,), generator=generator)
    n = int(lengths.sum())
    targets = torch.randint(3, VOCABULARY, (n,), generator=generator)
    targets[lengths.cumsum(0) - 1] = END
    teacher = 3.0 * torch.randn(n, VOCABULARY, generator=generator)
    start = 3.0 * torch.randn(n, VOCABULARY, generator=generator)
    teacher[:, :2] = start[:, :2] = -30.0  # pieces that have no text
    criterion = SelfEvolutionKD()
    names = ["reverse_kl", "total_variation"]
    others = {name: divergences.create(name, "") for name in names}
    tables = [
        measure(
            criterion, others, "forward_kl", start + share * (teacher - start), teacher, targets
        )
        for share in torch.linspace(0.0, 0.6, checkpoints).tolist()
    ]
    positions = torch.cat([torch.arange(length) for length in lengths.tolist()])
    spaced = torch.tensor([PIECES[word].startswith(" ") for word in targets.tolist()])
    sentences = [
        Sentence(
            source=NASTY if number == 1 else f"source {number}",
            target=f"target {number}",
            file="dev.jsonl",
            line=number + 1,
        )
        for number in range(num_sentences)
    ]
    values: dict[str, object] = {
        "teacher_weight": 0.5,
        "temperature": 1.0,
        "measures": {name: name for name in ["forward_kl", *names]},
        "threshold": "dynamic",
        "teacher": "teacher@step_9",
        "checkpoints": [
            Checkpoint(name=f"kd@step_{10 * number}", run="kd", step=10 * number)
            for number in range(1, checkpoints + 1)
        ],
        "earlier": [table.difficulty["forward_kl"] for table in tables[:-1]],
        "table": tables[-1],
        "places": TokenPlaces(
            targets=targets,
            sentences=torch.repeat_interleave(torch.arange(num_sentences), lengths),
            positions=positions,
            lengths=torch.repeat_interleave(lengths, lengths),
            starts_word=(spaced | (positions == 0)) & (targets != END),
            is_end=targets == END,
        ),
        "sentences": sentences,
        "dropped": {"target is empty": 2},
        "pieces": {**PIECES, 0: "<unk>", 1: "<bos>"},
        "reference_ratio": 0.2,
        "shown": shown,
        **settings,
    }
    return Analysis(**values)  # type: ignore[arg-type]
