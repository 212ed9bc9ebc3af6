"""Divergences D(target ‖ student): each usable as the loss and as the measure of difficulty."""

from sekd_plugin.divergences.base import Divergence, divergences, register_divergence
from sekd_plugin.divergences.jensen_shannon import JensenShannon
from sekd_plugin.divergences.kullback_leibler import ForwardKL, ReverseKL

__all__ = [
    "Divergence",
    "ForwardKL",
    "JensenShannon",
    "ReverseKL",
    "divergences",
    "register_divergence",
]
