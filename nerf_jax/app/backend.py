"""Flags of XLA, which are read when jax starts its backend: to be set before."""

import re
from collections.abc import MutableMapping
from importlib import metadata, util

FAST_ATOMICS = "-nvptx-allow-ftz-atomics"
_SLOW_SINCE, _SLOW_UNTIL = (0, 10, 2), (0, 11, 0)
"""Versions of jaxlib that compile additions to a table to loops of compare-and-swap: on RTX 30 and
40 cards hundreds of times slower where entries coincide (openxla/xla#46225)."""


def allow_fast_atomics(
    environment: MutableMapping[str, str], jaxlib: str | None = None, gpu: bool | None = None
) -> str | None:
    """Set the flag for atomic additions where this jaxlib needs it, and return a line for the log.

    Args:
        environment: whose ``XLA_FLAGS`` are extended; flags that are there stay.
        jaxlib: its version; by default, of the installed one.
        gpu: whether jax can use CUDA; by default, whether its plugin is installed.
    """
    version = jaxlib or metadata.version("jaxlib")
    plugins = (f"jax_cuda{number}_plugin" for number in (12, 13))
    gpu = any(map(util.find_spec, plugins)) if gpu is None else gpu
    platforms = environment.get("JAX_PLATFORMS", "")
    wanted = not platforms or bool({"cuda", "gpu"} & set(platforms.split(",")))
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    flags = environment.get("XLA_FLAGS", "")
    if not (gpu and wanted and _SLOW_SINCE <= numbers <= _SLOW_UNTIL) or FAST_ATOMICS in flags:
        return None
    flag = f"--xla_backend_extra_options={FAST_ATOMICS}"
    environment["XLA_FLAGS"] = f"{flags} {flag}".strip()
    return f"jaxlib {version}: XLA_FLAGS has {flag}, for fast additions on RTX 30 and 40 cards"
