"""The end of a training whose numbers are no longer finite."""

from __future__ import annotations

from typing import ClassVar

from sekd_plugin.errors import SekdError


class NonFiniteStepError(SekdError):
    """Training met numbers that are not finite."""

    exit_code: ClassVar[int] = 3
