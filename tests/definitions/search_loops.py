"""Greedy and beam search as plain loops over one sentence, which never stop early."""

from __future__ import annotations


def greedy_loop(next_log_probs, room, end):
    """The likeliest word at each place.

    ``next_log_probs`` gives the log-probabilities of the next word, a list, from those before.
    """
    translation = []
    while len(translation) < room:
        log_probs = next_log_probs(translation)
        word = max(range(len(log_probs)), key=lambda w: log_probs[w])
        if word == end:
            break
        translation.append(word)
    return translation


def beam_loop(next_log_probs, room, end, beam_size, penalty):
    """The finished translation of the greatest Σ log q / length^penalty among those seen."""
    unfinished, best, best_score = [(0.0, [])], None, -float("inf")
    for length in range(1, room + 1):
        extended = []
        for total, words in unfinished:
            log_probs = next_log_probs(words)
            score = (total + log_probs[end]) / length**penalty
            if score > best_score:
                best, best_score = words, score
            extended += [
                (total + log_prob, [*words, word])
                for word, log_prob in enumerate(log_probs)
                if word != end and log_prob > -float("inf")
            ]
        unfinished = sorted(extended, key=lambda pair: -pair[0])[:beam_size]
    return best
