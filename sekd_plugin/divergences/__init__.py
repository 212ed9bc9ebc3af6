"""Divergences D(target ‖ student): each usable as the loss and as the measure of difficulty."""

from sekd_plugin.divergences.adaptive import AdaptiveKL
from sekd_plugin.divergences.base import Divergence, divergences, register_divergence
from sekd_plugin.divergences.hellinger import Hellinger
from sekd_plugin.divergences.jensen_shannon import JensenShannon
from sekd_plugin.divergences.kullback_leibler import ForwardKL, ReverseKL
from sekd_plugin.divergences.power import Alpha, Renyi
from sekd_plugin.divergences.skew import SkewForwardKL, SkewReverseKL
from sekd_plugin.divergences.symmetric import SymmetricKL
from sekd_plugin.divergences.total_variation import TotalVariation

__all__ = [
    "AdaptiveKL",
    "Alpha",
    "Divergence",
    "ForwardKL",
    "Hellinger",
    "JensenShannon",
    "Renyi",
    "ReverseKL",
    "SkewForwardKL",
    "SkewReverseKL",
    "SymmetricKL",
    "TotalVariation",
    "divergences",
    "register_divergence",
]
