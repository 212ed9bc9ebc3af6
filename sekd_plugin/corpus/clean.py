"""One text in the form the corpus keeps, and in the form it is compared in."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_SPACES_AND_CONTROLS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def clean_text(text: str) -> str:
    """``text`` composed (Unicode NFC), each run of spaces or control characters one space."""
    return _SPACES_AND_CONTROLS.sub(" ", unicodedata.normalize("NFC", text)).strip()


def comparison_key(text: str) -> str:
    """What two texts have in common if they differ in case, spacing or typography only.

    Without what cannot be seen (category Cf, as soft hyphens are); NFKC, then casefold, then NFKC
    again (casefolding can decompose), then white space folded.
    """
    visible = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    folded = unicodedata.normalize("NFKC", visible).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def text_hash(*texts: str, seed: int = 0) -> int:
    """A 64-bit number for ``texts``; another, unrelated one for each ``seed``.

    Among ten million texts the chance that any two share a number is about 3 in a million.
    """
    digest = hashlib.blake2b(digest_size=8, key=str(seed).encode())
    for text in texts:
        encoded = text.encode()
        # The length first, so that ("ab", "c") and ("a", "bc") differ.
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return int.from_bytes(digest.digest(), "big")
