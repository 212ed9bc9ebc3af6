"""Settings that every test runs under."""

import os

import torch
from hypothesis import HealthCheck, settings

# Property tests run over matrices: their time says nothing about their health.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=20_000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Workers share few cores; more threads than that only wait for each other.
torch.set_num_threads(1)
