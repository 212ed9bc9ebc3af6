"""fairseq2's library of model, tokenizer and dataset families, set up once a process."""

from __future__ import annotations

from functools import cache

from fairseq2 import init_fairseq2
from fairseq2.runtime.dependency import DependencyResolver


@cache
def fairseq2_library() -> DependencyResolver:
    """The resolver that knows fairseq2's families; the first call takes about a second."""
    return init_fairseq2(no_progress=True)
