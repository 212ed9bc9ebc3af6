"""What a sentence is known by in a cache: the tokens that the teacher read."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

KEY_BYTES = 16


def sentence_key(prompt: Sequence[int], target: Sequence[int]) -> bytes:
    """16 bytes that stand for a prompt and a translation, as token ids.

    Whatever changes what the teacher reads or predicts, vocabulary, template or text, changes them;
    the order of a corpus, its file names and weights do not.
    """
    numbers = struct.pack(f"<{len(prompt) + len(target) + 1}i", len(prompt), *prompt, *target)
    return hashlib.blake2b(numbers, digest_size=KEY_BYTES).digest()
