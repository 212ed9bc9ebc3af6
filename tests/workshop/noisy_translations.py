"""Made-up translations, and worse ones of the same sentences."""

import random

WORDS = [
    "the", "a", "file", "window", "opens", "closes", "red", "green", "you", "can", "now", "then",
    "save", "print", "menu",
]  # fmt: skip


def noisy(references, share, seed):
    draw = random.Random(seed)
    return [
        " ".join(draw.choice(WORDS) if draw.random() < share else word for word in line.split())
        for line in references
    ]


def made_up_translations(count):
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=draw.randint(4, 14))) for _ in range(count)]
