"""Records of benchmarks: the figures with the machine, the versions and the command."""

import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from nerf_jax.data.files import atomic_write
from nerf_jax.devices import device_name, processor


def write_record(
    script: Path, figures: dict[str, Any], versions: dict[str, str], name: str | None = None
) -> None:
    """Write ``results/<name>.json`` next to the script; by default, the name is the script's."""
    ours = {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")}
    record = {
        "command": " ".join(["python", f"benchmarks/{script.name}", *sys.argv[1:]]),
        "machine": processor(),
        "device": device_name(),
        "versions": {"python": platform.python_version(), **ours, **versions},
        **figures,
    }
    path = script.parent / "results" / f"{name or script.stem}.json"
    with atomic_write(path) as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")
    print(path)
