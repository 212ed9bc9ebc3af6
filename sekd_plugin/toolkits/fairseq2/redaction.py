"""Keeps secrets out of the logs: fairseq2 prints every environment variable at start."""

from __future__ import annotations

import logging
import os

_SHOWN = (
    "CUDA_", "FAIRSEQ2_", "GLOO_", "GROUP_", "LOCAL_", "MASTER_ADDR", "MASTER_PORT", "MKL_NUM_",
    "NCCL_", "NODE_RANK", "OMP_", "RANK", "ROLE_", "SLURM_JOB_ID", "SLURM_NNODES", "SLURM_NODEID",
    "SLURM_NTASKS", "SLURM_PROCID", "TORCHELASTIC_", "TORCH_", "WORLD_SIZE",
)  # fmt: skip
_SECRET_WORDS = {
    "APIKEY", "AUTH", "AUTHORIZATION", "COOKIE", "CREDENTIAL", "CREDENTIALS", "DSN", "KEY", "KEYS",
    "PASS", "PASSPHRASE", "PASSWD", "PASSWORD", "PASSWORDS", "SECRET", "SECRETS", "TOKEN", "TOKENS",
}  # fmt: skip
"""What a secret's variable has in its name, as a word between underscores."""


class EnvironmentFilter(logging.Filter):
    """Shows only variables that steer training, and blanks secret values wherever they occur."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets = [
            value for name, value in os.environ.items() if len(value) >= 6 and _names_a_secret(name)
        ]

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; never drop it."""
        message = record.getMessage()
        if message.startswith("Environment Variables - "):
            shown = [
                f"{name}={value}"
                for name, value in sorted(os.environ.items())
                if name.startswith(_SHOWN) and not _names_a_secret(name)
            ]
            message = f"Environment Variables (those that steer training) - {', '.join(shown)}"
        for secret in self._secrets:
            message = message.replace(secret, "***")
        record.msg, record.args = message, None
        return True


def _names_a_secret(name: str) -> bool:
    return not _SECRET_WORDS.isdisjoint(name.upper().split("_"))


def redact_logs() -> None:
    """Put the filter on fairseq2's logger."""
    logging.getLogger("fairseq2").addFilter(EnvironmentFilter())
