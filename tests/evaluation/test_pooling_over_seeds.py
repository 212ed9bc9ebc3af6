"""A comparison over several seeds is what a plain loop over resampled test sets gives."""

import numpy as np
import pytest
import sacrebleu
from noisy_translations import made_up_translations, noisy

from sekd_plugin.errors import SekdError
from sekd_plugin.evaluation.significance import SentenceCounts, paired_bootstrap


@pytest.fixture(scope="module")
def references():
    return made_up_translations(60)


def test_every_seed_is_scored_on_the_same_resampled_sentences(references):
    pairs = [(noisy(references, 0.3, 1), noisy(references, 0.35, 2)),
             (noisy(references, 0.2, 3), noisy(references, 0.4, 4))]  # fmt: skip

    def bleu(lines, rows):
        pick = [references[row] for row in rows]
        return sacrebleu.corpus_bleu([lines[row] for row in rows], [pick]).score

    def difference(rows):
        return np.mean([bleu(ours, rows) - bleu(theirs, rows) for ours, theirs in pairs])

    draw = np.random.default_rng(7)
    n = len(references)
    samples = [difference(draw.integers(0, n, n)) for _ in range(12)]
    whole = difference(range(n))

    count = SentenceCounts(references)
    found = paired_bootstrap(
        [(count(one), count(other)) for one, other in pairs], num_samples=12, seed=7
    )

    assert found.difference == pytest.approx(whole)
    assert found.low == pytest.approx(np.quantile(samples, 0.025))
    assert found.high == pytest.approx(np.quantile(samples, 0.975))
    extreme = sum(abs(sample - np.mean(samples)) >= abs(whole) for sample in samples)
    assert found.p_value == pytest.approx((extreme + 1) / 13)


def test_too_few_translations_are_refused(references):
    good = noisy(references, 0.3, 1)
    with pytest.raises(SekdError, match="59 translations for 60 references"):
        SentenceCounts(references)(good[1:])
