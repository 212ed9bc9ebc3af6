"""Proxies: what a hard token is trained on."""

from sekd_plugin.proxies.base import Proxy, proxies, register_proxy
from sekd_plugin.proxies.detached import DetachedProxy
from sekd_plugin.proxies.linear import LinearProxy
from sekd_plugin.proxies.log_linear import LogLinearProxy

__all__ = [
    "DetachedProxy",
    "LinearProxy",
    "LogLinearProxy",
    "Proxy",
    "proxies",
    "register_proxy",
]
