"""The page of results, from the figures that the other scripts wrote.

    python benchmarks/report.py

Writes ``docs/results.md`` and ``docs/time_to_psnr.png``. A benchmark that was not run is left out,
and the page says so.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"


def read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def made_by(record: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return f"`{record['command']}` on {record['machine']}; {record['device']}; {versions}."


def time_to_psnr(record: dict[str, Any]) -> str:
    rows = [
        (
            f"{r['seconds']:.0f} s",
            r["step"],
            f"{r['psnr']:.2f}",
            f"{r['worst']:.2f}",
            r["rays_per_step"],
        )
        for r in record["curve"]
    ]
    lines = [
        table(["training", "steps", "PSNR, dB", "worst view", "rays a step"], rows),
        f"{record['protocol'][0].upper()}{record['protocol'][1:]}. Compiling took "
        f"{record['compile_seconds']:.1f} s; peak memory of the process was "
        f"{record['peak_rss_mib']:,} MiB.",
    ]
    if "all_views" in record:
        every = record["all_views"]
        lines.append(
            f"All val views at the end: {every['mean']:.2f} dB, the worst {every['worst']:.2f} dB."
        )
    return "\n\n".join([*lines, made_by(record)])


def plot(records: dict[str, dict[str, Any]]) -> None:
    """PSNR over the time of training, the time on a logarithmic axis."""
    fig, axes = plt.subplots(figsize=(7, 3.6), dpi=110)
    for name, record in records.items():
        seconds = [row["seconds"] for row in record["curve"]]
        axes.plot(
            seconds, [row["psnr"] for row in record["curve"]], "o-", ms=4, label=f"mean, {name}"
        )
        axes.plot(
            seconds, [row["worst"] for row in record["curve"]], ":", label=f"worst view, {name}"
        )
    axes.set_xscale("log")
    marks = [5, 10, 20, 60, 120, 300, 600]
    axes.set_xticks(marks, [f"{mark} s" if mark < 60 else f"{mark // 60} min" for mark in marks])
    axes.minorticks_off()
    axes.set(xlabel="time of training", ylabel="held-out PSNR, dB", title="lego")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    fig.tight_layout()
    fig.savefig(DOCS / "time_to_psnr.png")


def throughput(record: dict[str, Any]) -> str:
    rows = [(name, f"{value:.2f}") for name, value in record["milliseconds"].items()]
    text = f"Training: {record['rays_per_second']:,.0f} rays/s."
    if "ratio" in record:
        text += (
            f" A plain NeRF in eager PyTorch (1024 rays of 192 samples, 256 wide) did "
            f"{record['plain_pytorch_rays_per_second']:,.0f} rays/s in the same run: the median of "
            f"the pairs' ratios is **{record['ratio']:,.0f}**."
        )
    note = (
        "Stages compiled and timed by themselves, at full buffers and after "
        f"{record['trained_seconds']:.0f} s of training; they overlap in the whole step."
    )
    return "\n\n".join([text, note, table(["stage", "ms"], rows), made_by(record)])


def scaling(record: dict[str, Any]) -> str:
    parts = []
    for name, title in (
        ("rays", "rays_per_step"),
        ("samples", "max_samples"),
        ("entries", "max_entries"),
    ):
        rows = [(f"{row[title]:,}", f"{row['milliseconds']:.1f}") for row in record[name]]
        parts.append(table([title, "ms a step"], rows))
    rows = [(f"{row['width']}x{row['height']}", f"{row['seconds']:.2f}") for row in record["image"]]
    parts.append(table(["view", "seconds"], rows))
    if "devices" in record:
        rows = [(row["devices"], f"{row['milliseconds']:.1f}") for row in record["devices"]]
        parts.append(table(["virtual devices of one CPU", "ms a step"], rows))
    return "\n\n".join([*parts, made_by(record)])


def ablations(record: dict[str, Any]) -> str:
    rows = [
        (r["variant"], f"{r['psnr']:.2f}", f"{r['worst']:.2f}", r["steps"], r["rays_per_step"])
        for r in record["rows"]
    ]
    head = ["variant", "PSNR, dB", "worst view", "steps", "rays a step"]
    note = f"Each after {record['seconds']:.0f} s of training, one choice changed at a time."
    return "\n\n".join([note, table(head, rows), made_by(record)])


def scales(record: dict[str, Any]) -> str:
    sides = [f"{side}x{side}, dB" for side in record["sizes"]]
    rows = [
        (r["learned"], r["footprint"], *(f"{psnr:.2f}" for psnr in r["psnr"]))
        for r in record["rows"]
    ]
    note = (
        f"The built-in scene after {record['rows'][0]['steps']} steps on pictures of one size or "
        "of four; held-out views, shrunk by area, white background: mean of per-image PSNR."
    )
    return "\n\n".join(
        [note, table(["learned from", "model.footprint", *sides], rows), made_by(record)]
    )


def captures(record: dict[str, Any]) -> str:
    rows = [
        (
            r["config"],
            "{1}x{0}".format(*r["image_size_hw"]),
            f"{r['photos']} + {r['held_out']}",
            f"{r['train_seconds']:.0f}",
            f"{r['psnr']:.2f}",
            f"{r['ssim']:.3f}",
            f"{r['worst']:.2f}",
        )
        for r in record["rows"]
    ]
    head = ["config", "size", "photos + held out", "training, s", "PSNR, dB", "SSIM", "worst view"]
    note = "Every eighth photo held out; float32, mean of per-image values."
    return "\n\n".join([note, table(head, rows), made_by(record)])


def pose_refinement(record: dict[str, Any]) -> str:
    rows = [
        (
            name,
            f"{row['psnr']:.2f}",
            f"{row['off']['rotation_mean_degrees']:.2f}",
            f"{row['off']['centre_mean_percent']:.2f}",
        )
        for name, row in record["rows"].items()
    ]
    head = ["trained from", "PSNR, dB", "off in the end, degrees", "off in the end, % of extent"]
    note = (
        f"The fox's photos at 1/{record['downscale']} of their size, {record['steps']:,} steps "
        "each; disturbed: each camera turned by 1 degree and moved by 1 % of the scene's extent. "
        f"Learning the cameras (`--optimizer.pose_learning_rate {record['rate']:g}`) recovers "
        f"**{record['recovered']:.0%}** of what that costs."
    )
    return "\n\n".join([note, table(head, rows), made_by(record)])


def proposals(record: dict[str, Any]) -> str:
    rows = [
        (
            row["name"],
            f"{row['rays'] / 1e6:.2f} million",
            f"{row['psnr']:.2f}",
            f"{row['worst']:.2f}",
            f"{row['seconds']:.0f}",
        )
        for row in record["rows"]
    ]
    head = ["where to look", "rays learned from", "PSNR, dB", "worst view", "training, s"]
    note = (
        "Lego at 400x400, the same field read in occupied cells or where small fields propose; val "
        "views 0, 12, ..., 84."
    )
    if record.get("busy"):
        note += " The machine was busy: of the times only their order counts."
    return "\n\n".join([note, table(head, rows), made_by(record)])


def mesh(record: dict[str, Any]) -> str:
    rows = [
        (
            r["surface"],
            r["resolution"],
            f"{r['vertices']:,}",
            "yes" if r["watertight"] else "no",
            f"{r['accuracy']:.2f}",
            f"{r['completeness']:.2f}",
            f"{r['completeness_seen']:.2f}",
            f"**{r['chamfer']:.2f}**",
        )
        for r in record["rows"]
    ]
    head = ["surface", "voxels", "vertices", "watertight", "accuracy, %", "completeness, %"]
    head += ["of what is seen, %", "chamfer, %"]
    note = (
        f"The built-in scene after {record['train_seconds']:.0f} s of training "
        f"({record['psnr']:.1f} dB at 128x128), its largest piece, without holes. Mean distances, "
        "in percent of the longest side of the box around the exact surface: from the mesh to it "
        "(accuracy), back (completeness), and their mean (chamfer). Training cameras see "
        f"{record['seen_percent']:.0f} % of the exact surface; the rest, such as the underside, is "
        "counted all the same, but for the column that says so."
    )
    return "\n\n".join([note, table(head, rows), made_by(record)])


def viewer(record: dict[str, Any]) -> str:
    latency, slower = record["latency"], record["training"]["slower_by_percent"]
    height, width = latency["full_hw"]
    coarse = " x ".join(map(str, latency["coarse_hw"][::-1]))
    names = {
        "answer": "a move is answered in the page",
        "answer_of_server": "of which the server takes",
        "sharp": f"sharp at {width} x {height}",
    }
    rows = [
        (label, f"{latency[key]['median']:.2f}", f"{latency[key]['worst']:.2f}")
        for key, label in names.items()
    ]
    return "\n\n".join(
        [
            "The built-in scene, in a page that Chromium draws without a GPU on the same two "
            "cores, which takes a good part of these times. A coarse picture has "
            f"{coarse} pixels or more.",
            table(["after a move of the mouse", "median, s", "worst, s"], rows),
            "Training is slower by "
            f"{slower['pictures']:.1f} % for the pictures that follow it, and by "
            f"{slower['page']:.1f} % for Chromium, which draws the page all the time.",
            made_by(record),
        ]
    )


def main() -> None:
    parts, curves = (
        ["# Results", "Made by `python benchmarks/report.py` from `benchmarks/results`."],
        {},
    )
    sections = [
        ("Time to PSNR: lego on a CPU", "time_to_psnr_cpu", time_to_psnr),
        ("Time to PSNR: lego on a GPU", "time_to_psnr_gpu", time_to_psnr),
        ("Where a step's time goes, CPU", "throughput_cpu", throughput),
        ("Where a step's time goes, GPU", "throughput_gpu", throughput),
        ("Scaling, CPU", "scaling_cpu", scaling),
        ("Scaling, GPU", "scaling_gpu", scaling),
        ("Ablations", "ablations", ablations),
        ("Pictures of other sizes", "scales", scales),
        ("Proposals for lego", "proposals", proposals),
        ("Captures", "captures", captures),
        ("Meshes", "mesh", mesh),
        ("The viewer", "viewer", viewer),
        ("Learning the cameras", "pose_refinement", pose_refinement),
    ]
    for title, name, describe in sections:
        record = read(name)
        if record is None:
            script = name.rsplit("_", 1)[0] if name.endswith(("_cpu", "_gpu")) else name
            option = " --preset gpu" if name.endswith("_gpu") else ""
            parts += [f"## {title}", f"Not measured yet: `python benchmarks/{script}.py{option}`."]
            continue
        parts += [f"## {title}", describe(record)]
        if describe is time_to_psnr:
            curves["two CPU cores" if name.endswith("cpu") else record["device"]] = record
            if len(curves) == 1:
                parts.append("![PSNR over the time of training](time_to_psnr.png)")
    if curves:
        plot(curves)
    (DOCS / "results.md").write_text("\n\n".join(parts) + "\n")
    print(DOCS / "results.md")


if __name__ == "__main__":
    main()
