"""Scores of each inner photo of a capture, held out alone.

    python benchmarks/leave_one_out.py outputs/captures/sceaux --seconds 60

The capture is a folder from ``prepare``; its first and last photo are always learned from. Runs
that are there already are used again. Writes ``benchmarks/results/leave_one_out.json``.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from captures import command, row
from record import write_record

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("capture", type=Path, help="a folder from prepare")
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, each")
    parser.add_argument("--work", type=Path, default=Path("outputs/leave_one_out"))
    args = parser.parse_args()
    poses = json.loads((args.capture / "transforms.json").read_text())
    names = sorted(frame["file_path"] for frame in poses["frames"])
    rows: list[dict[str, Any]] = []
    for name in names[1:-1]:
        folder = args.work / Path(name).stem
        run = folder / "run"
        if not (run / "results.json").exists():
            link_capture(args.capture, folder)
            split = {"train_filenames": [n for n in names if n != name], "val_filenames": [name]}
            (folder / "transforms.json").write_text(json.dumps(poses | split))
            options = ["--data.root", folder, "--output", run, "--render.num_frames", 0]
            limits = ["--train.max_seconds", args.seconds, "--train.num_steps", 10**6]
            command(ROOT, "--config", "capture.py", *options, *limits)
        affine = json.loads((run / "results.json").read_text())["affine_color"]["psnr"]
        rows.append({"photo": Path(name).stem, **row(run), "psnr_affine": affine})
        print("{photo}: {psnr:.2f} dB, SSIM {ssim:.3f}".format(**rows[-1]))
    figures = {"capture": args.capture.name, "seconds": args.seconds, "rows": rows}
    write_record(Path(__file__), figures, {})


def link_capture(capture: Path, folder: Path) -> None:
    """A folder with all of a capture's but its poses."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in capture.resolve().iterdir():
        link = folder / source.name
        if source.name != "transforms.json" and not link.exists():
            link.symlink_to(source)


if __name__ == "__main__":
    main()
