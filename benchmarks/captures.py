"""Scores of captures, from finished runs.

    python run.py --config fox.py --output outputs/fox
    python run.py --config fern.py --output outputs/fern
    python benchmarks/captures.py outputs/fox outputs/fern

Prints a table, and writes ``benchmarks/results/captures.json``.
"""

import json
import sys
from pathlib import Path

from record import write_record

from nerf_jax.app.runs import Run
from nerf_jax.app.scene_cameras import SceneCameras


def row(run: Run) -> dict[str, object]:
    """The scores and the settings of a run."""
    found = json.loads((run.folder / "results.json").read_text())
    config, protocol = run.config(), found["protocol"]
    scores = [image["psnr"] for image in found["per_image"]]
    return {
        "config": f"{config.name}.py",
        "space": getattr(config.model, "space", None),
        "image_size_hw": protocol["image_size_hw"],
        "photos": len(SceneCameras.load(run.setting_file).splits["train"].names),
        "held_out": protocol["views"],
        "train_seconds": found["train_seconds"],
        "compile_seconds": found["compile_seconds"],
        "steps": found["steps"],
        "rays_per_second": run.metrics()[-1]["rays_per_second"],
        "psnr": found["psnr"],
        "ssim": found["ssim"],
        "worst": min(scores),
    }


def main() -> None:
    rows = [row(Run(Path(name))) for name in sys.argv[1:]]
    for one in rows:
        print(
            f"{one['config']:10s} {one['train_seconds']:5.0f} s  {one['psnr']:.2f} dB  "
            f"SSIM {one['ssim']:.3f}  worst {one['worst']:.2f} dB"
        )
    write_record(Path(__file__), {"rows": rows}, {})


if __name__ == "__main__":
    main()
