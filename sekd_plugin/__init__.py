"""Self-Evolution Knowledge Distillation for machine translation, chosen by name in a recipe.

The core needs torch alone. Toolkits are served from :mod:`sekd_plugin.toolkits`.
"""

from sekd_plugin.base_criterion import Criterion, criteria, register_criterion
from sekd_plugin.baselines import CrossEntropy, WordKD
from sekd_plugin.criterion import SelfEvolutionKD
from sekd_plugin.divergences import Divergence, divergences, register_divergence
from sekd_plugin.errors import ConfigError, DataError, SekdError
from sekd_plugin.output import CriterionOutput, NonFiniteLogitsError
from sekd_plugin.proxies import Proxy, proxies, register_proxy
from sekd_plugin.schedules import Schedule
from sekd_plugin.thresholds import KnownGamma, Threshold, register_threshold, thresholds

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "Criterion",
    "CriterionOutput",
    "CrossEntropy",
    "DataError",
    "Divergence",
    "KnownGamma",
    "NonFiniteLogitsError",
    "Proxy",
    "Schedule",
    "SekdError",
    "SelfEvolutionKD",
    "Threshold",
    "WordKD",
    "criteria",
    "divergences",
    "proxies",
    "register_criterion",
    "register_divergence",
    "register_proxy",
    "register_threshold",
    "thresholds",
]
