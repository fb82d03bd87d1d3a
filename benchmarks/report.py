"""The page of results, from the files that the other scripts wrote.

    python benchmarks/report.py

Writes ``docs/results.md`` and ``docs/time_to_psnr.png``. For a benchmark without results, the page
gives the command.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"

Record = dict[str, Any]


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def cells(rows: Iterable[Record], **formats: str) -> list[list[str]]:
    """The named fields of each row, formatted."""
    return [[format(row[name], spec) for name, spec in formats.items()] for row in rows]


def made_by(record: Record) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return f"`{record['command']}` on {record['machine']}; {record['device']}; {versions}."


def time_to_psnr(record: Record) -> list[str]:
    rows = cells(record["curve"], seconds=".0f", step="", psnr=".2f", worst=".2f", rays_per_step="")
    for row in rows:
        row[0] += " s"
    parts = [
        table(["training time", "steps", "PSNR, dB", "worst view", "rays per step"], rows),
        f"{record['protocol'][0].upper()}{record['protocol'][1:]}. Compilation took "
        f"{record['compile_seconds']:.1f} s; the peak memory of the process was "
        f"{record['peak_rss_mib']:,} MiB.",
    ]
    if "all_views" in record:
        every = record["all_views"]
        parts.append(
            f"All val views at the end: {every['mean']:.2f} dB, the worst {every['worst']:.2f} dB."
        )
    return parts


def plot(records: dict[str, Record]) -> None:
    """PSNR over training time, on a logarithmic time axis."""
    fig, axes = plt.subplots(figsize=(7, 3.6), dpi=110)
    for name, record in records.items():
        seconds = [row["seconds"] for row in record["curve"]]
        for key, style, label in (("psnr", "o-", "mean"), ("worst", ":", "worst view")):
            values = [row[key] for row in record["curve"]]
            axes.plot(seconds, values, style, ms=4, label=f"{label}, {name}")
    axes.set_xscale("log")
    marks = [5, 10, 20, 60, 120, 300, 600]
    axes.set_xticks(marks, [f"{mark} s" if mark < 60 else f"{mark // 60} min" for mark in marks])
    axes.minorticks_off()
    axes.set(xlabel="training time", ylabel="held-out PSNR, dB", title="lego")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    fig.tight_layout()
    fig.savefig(DOCS / "time_to_psnr.png")


def throughput(record: Record) -> list[str]:
    text = f"Training: {record['rays_per_second']:,.0f} rays/s."
    if "ratio" in record:
        text += (
            f" A plain NeRF in eager PyTorch (1024 rays of 192 samples, 256 units wide) reached "
            f"{record['plain_pytorch_rays_per_second']:,.0f} rays/s in the same run: the median of "
            f"the pairs' ratios is **{record['ratio']:,.0f}**."
        )
    note = (
        "Beginnings of a step, compiled and timed separately after "
        f"{record['trained_seconds']:.0f} s of training; a stage is the difference of two, and of "
        "the refresh of the occupancy grid, which is rare, the part of one step. The least time is "
        "that of the matrix products, the random reads and additions in tables, and of the "
        "optimiser's reads and writes, at the machine's speed, measured in the same run: "
        "{flops:.0f} GFLOP/s, {reads:.0f} and {writes:.0f} million rows of four numbers a second, "
        "{streamed:.0f} GB/s.".format(
            flops=record["machine_per_second"]["flops"] / 1e9,
            reads=record["machine_per_second"]["reads"] / 1e6,
            writes=record["machine_per_second"]["writes"] / 1e6,
            streamed=record["machine_per_second"]["streamed"] / 1e9,
        )
    )
    rows = [
        [
            row["stage"],
            f"{row['ms']:.2f}",
            f"{row['least_ms']:.2f}",
            f"{row['flops'] / 1e6:,.0f}",
            f"{(row['reads'] + row['writes']) / 1e3:,.0f}",
        ]
        for row in record["stages"]
    ]
    rows.append(["the step itself", f"{record['step_ms']:.2f}", "", "", ""])
    head = ["stage", "ms", "least, ms", "million operations", "thousand rows"]
    return [text, note, table(head, rows)]


def scaling(record: Record) -> list[str]:
    fields = {"rays": "rays_per_step", "samples": "max_samples", "entries": "max_entries"}
    parts = [
        table([field, "ms per step"], cells(record[name], **{field: ","}, milliseconds=".1f"))
        for name, field in fields.items()
    ]
    rows = [(f"{row['width']}x{row['height']}", f"{row['seconds']:.2f}") for row in record["image"]]
    parts.append(table(["view", "seconds"], rows))
    if "devices" in record:
        rows = cells(record["devices"], devices="", milliseconds=".1f")
        parts.append(table(["virtual devices of one CPU", "ms per step"], rows))
    return parts


def ablations(record: Record) -> list[str]:
    note = f"Each after {record['seconds']:.0f} s of training, with one choice changed."
    note += f" {record.get('remark', '')}"
    head = ["variant", "PSNR, dB", "worst view", "steps", "rays per step"]
    formats = {"variant": "", "psnr": ".2f", "worst": ".2f", "steps": "", "rays_per_step": ""}
    return [note, table(head, cells(record["rows"], **formats))]


def scales(record: Record) -> list[str]:
    note = (
        f"The built-in scene after {record['rows'][0]['steps']} steps on images of one size or of "
        "four. Held-out views, reduced by averaging areas, white background; means of per-image "
        "PSNR."
    )
    head = ["training images", "model.footprint", *(f"{n}x{n}, dB" for n in record["sizes"])]
    rows = [
        (row["learned"], row["footprint"], *(f"{psnr:.2f}" for psnr in row["psnr"]))
        for row in record["rows"]
    ]
    return [note, table(head, rows)]


def captures(record: Record) -> list[str]:
    scenes = list(dict.fromkeys(row["scene"] for row in record["rows"]))
    found: dict[str, dict[str, Record]] = {}
    for row in record["rows"]:
        found.setdefault(row["variant"], {})[row["scene"]] = row
    newest = [
        (
            scene,
            "{1}x{0}".format(*row["image_size_hw"]),
            *cells([row], psnr=".2f", ssim=".3f", steps=",")[0],
            ", ".join(f"{psnr:.1f}" for psnr in row["views"].values()),
        )
        for scene, row in found[record["newest"]].items()
    ]
    rows = []
    for variant, each in found.items():
        scores = [each.get(scene) for scene in scenes]
        texts = ["{psnr:.2f}, {ssim:.3f}, {steps:,}".format(**row) if row else "" for row in scores]
        rows.append([variant, *texts])
    note = (
        "`capture.py` but where a config is named, every eighth photo held out (of the fox at "
        "300 steps every third of these); float32, means of per-image values. Equal steps were "
        "measured beside other work, which changes times and no score. The fox and the fern "
        "with the poses that come with them, the others as `prepare` placed them; `fox_quarter` "
        "learns from every fourth photo. Of 5 minutes, those without a plane sweep and a camera "
        "model were measured on a busy machine; all 25 photos of the kitchen have been placed "
        "since, so that others are held out. An environment that is shown late is preceded by "
        "random backgrounds; levels from coarse to fine opened one after another in the first "
        "half. The wider sweep compares eight photos instead of four, up to six times as far as "
        "the sparse points, and far away is content with what photos tell apart; a cosine instead "
        "of an exponential lowers the learning rate. Steps as before are longer wherever not all "
        "rays fit, until the end; those of today only in the first half, or where less than 44 % "
        "fit. Of the runs on one core, those with every step in the second half began later than "
        "the others, but for the flower's. Of the newest, the fern and the flower ran side by "
        "side, each on one core. Of 60 s on one core each remedy is left out alone; the "
        "machine was at half its speed at times, see the steps; without known depths, those of "
        "the sparse points are left out too. Direction noise is of 0.15 unless said; noise "
        "of positions moves the point from which a colour is seen; an environment on a sphere is "
        "read where the ray leaves it. Smooth disparities: a loss on the second difference of the "
        "disparities of three pixels in line, where the photo is uniform; 3 of 8 rays are drawn "
        "so. Two runs of the same code and steps differ by up to "
        "0.4 dB on the kitchen and 1 dB on the inner view of sceaux. Half of the held-out views "
        "of both show much that no photo does: see below."
    )
    head = ["capture", "size", "PSNR, dB", "SSIM", "steps", "held-out views, dB"]
    first = f"**{record['newest'][0].upper()}{record['newest'][1:]}:**"
    every = "All that was measured; PSNR in dB, SSIM, steps:"
    return [note, first, table(head, newest), every, table(["variant", *scenes], rows)]


def covisible(record: Record) -> list[str]:
    note = (
        "Held-out views of captures after five minutes, and the PSNR of their pixels that photos "
        "show at all, or that at least two do. Which photos see a surface is decided by the depths "
        f"of a model that learned from all photos for {record['seconds']:.0f} s."
    )
    rows = [
        (
            row["run"].partition("-")[0],
            row["view"],
            f"{row['psnr']:.1f}",
            f"{row['unseen']:.0%}",
            f"{row['psnr_seen']:.1f}",
            f"{row['psnr_seen_twice']:.1f}",
        )
        for row in record["rows"]
    ]
    head = ["capture", "view", "PSNR, dB", "seen by no photo", "PSNR of the rest", "of seen twice"]
    return [note, table(head, rows)]


def leave_one_out(record: Record) -> list[str]:
    note = (
        f"Of `{record['capture']}`, each photo but the first and the last, after "
        f"{record['seconds']:.0f} s of training on the others: "
        f"{mean(row['psnr'] for row in record['rows']):.2f} dB on the mean, "
        f"{mean(row['psnr_affine'] for row in record['rows']):.2f} dB after an affine fit of each "
        f"view's colours. {record.get('remark', '')}"
    )
    rows = cells(record["rows"], photo="", psnr=".2f", psnr_affine=".2f", ssim=".3f", steps=",")
    return [note, table(["photo", "PSNR, dB", "after the fit", "SSIM", "steps"], rows)]


def floaters(record: Record) -> list[str]:
    height, width = record["size_hw"]
    spent = f"{record['steps']:,} steps" if record["steps"] else f"{record['seconds']:.0f} s"
    note = (
        f"The share of pixels whose median depth is wrong by more than {record['tolerance']:.0%}, "
        "or that are opaque where there is only sky, after "
        f"{spent}, in {record['views']} views of {width}x{height} off the training path. `town` is "
        "a capture of 20 photos with a far background, trained by `capture.py`, `bricks` the "
        "built-in object. Parts that no photo shows are counted too."
    )
    rows = [
        (*cells([row], scene="", variant="")[0], f"{row['wrong']:.1%}") for row in record["rows"]
    ]
    return [note, table(["scene", "variant", "wrong"], rows)]


def pose_refinement(record: Record) -> list[str]:
    note = (
        f"The fox's photos at 1/{record['downscale']} of their size, {record['steps']:,} steps "
        "each. Disturbed: each camera rotated by 1 degree and moved by 1 % of the scene's extent. "
        f"Pose refinement (`--optimizer.pose_learning_rate {record['rate']:g}`) recovers "
        f"**{record['recovered']:.0%}** of the loss in PSNR."
    )
    head = ["initial poses", "PSNR, dB", "final error, degrees", "final error, % of extent"]
    formats = {"psnr": ".2f", "rotation_mean_degrees": ".2f", "centre_mean_percent": ".2f"}
    rows = [
        [name, *cells([{**row, **row["off"]}], **formats)[0]]
        for name, row in record["rows"].items()
    ]
    return [note, table(head, rows)]


def proposals(record: Record) -> list[str]:
    note = (
        "Lego at 400x400, the same field sampled in occupied cells or by proposals; val views "
        "0, 12, ..., 84."
    )
    if record.get("busy"):
        note += " The machine was busy: only the order of the times is meaningful."
    head = ["sampling", "training rays", "PSNR, dB", "worst view", "training, s"]
    rows = [
        [row["name"], f"{row['rays'] / 1e6:.2f} million", *numbers]
        for row, numbers in zip(
            record["rows"],
            cells(record["rows"], psnr=".2f", worst=".2f", seconds=".0f"),
            strict=True,
        )
    ]
    return [note, table(head, rows)]


def mesh(record: Record) -> list[str]:
    note = (
        f"The built-in scene after {record['train_seconds']:.0f} s of training "
        f"({record['psnr']:.1f} dB at 128x128), its largest component, closed. Mean distances in "
        "percent of the longest side of the exact surface's bounding box: from the mesh to the "
        "exact surface (accuracy), from the exact surface to the mesh (completeness), and their "
        f"mean (chamfer). The training cameras see {record['seen_percent']:.0f} % of the exact "
        "surface; all columns but one include the rest, such as the underside."
    )
    head = ["surface", "voxels", "vertices", "watertight", "accuracy, %", "completeness, %"]
    head += ["completeness of the visible part, %", "chamfer, %"]
    distances = dict.fromkeys(("accuracy", "completeness", "completeness_seen"), ".2f")
    rows = [
        (
            *cells([row], surface="", resolution="", vertices=",")[0],
            "yes" if row["watertight"] else "no",
            *cells([row], **distances)[0],
            f"**{row['chamfer']:.2f}**",
        )
        for row in record["rows"]
    ]
    return [note, table(head, rows)]


def viewer(record: Record) -> list[str]:
    latency, slower = record["latency"], record["training"]["slower_by_percent"]
    height, width = latency["full_hw"]
    names = {
        "answer": "first image in the page",
        "answer_of_server": "of which the server's share",
        "sharp": f"sharp image of {width} x {height}",
    }
    rows = [
        (label, *cells([latency[key]], median=".2f", worst=".2f")[0])
        for key, label in names.items()
    ]
    return [
        "The built-in scene, in a page that Chromium draws without a GPU on the same two cores, "
        "which accounts for a large part of these times. A coarse image has at least "
        f"{' x '.join(map(str, latency['coarse_hw'][::-1]))} pixels.",
        table(["after a mouse motion", "median, s", "worst, s"], rows),
        f"Training is slower by {slower['pictures']:.1f} % because of the images of its progress, "
        f"and by {slower['page']:.1f} % because Chromium draws the page.",
    ]


def page(record: Record) -> list[str]:
    head = ["run", "steps", "half floats: MB", "PSNR, dB", "of depth, dB"]
    head += ["8 bits: MB", "PSNR, dB", "of depth, dB", "first picture, s"]
    score = {"megabytes": ".1f", "psnr": ".1f", "depth": ".1f"}
    sizes = [
        (
            *cells([row], run="", steps_trained=",")[0],
            *cells([row["half_floats"]], **score)[0],
            *cells([row["eight_bits"]], **score)[0],
            *cells([row["half_floats"]], first_picture=".1f")[0],
        )
        for row in record["rows"]
    ]
    costs = [
        (
            row["run"],
            *cells([row["a_ray"]], densities=".1f", colors=".1f", texels=".0f", kiloflops=".0f")[0],
            *cells([row], milliseconds=",.0f")[0],
            *cells([row["a_ray"]], gpu_ms_estimate=".0f")[0],
        )
        for row in record["rows"]
    ]
    names = ["run", "densities", "colours", "texels", "kFLOP"]
    frame, gpu = f"{record['frame']} x {record['frame']}", record["gpu"]
    return [
        "The canvas of the page in Chromium, drawn on the processor (SwiftShader), against "
        f"`render` of the same run at {record['size']}x{record['size']}: the least PSNR of two "
        "training views, in colour and in the colours of the median depth. Seconds are from "
        "opening the file to the first, coarse picture.",
        table(head, sizes),
        f"The cost of a frame of the first training view: means over its rays, and the time of "
        f"{frame} pixels. The last column is an estimate, not a measurement: {gpu['name']} with "
        f"{gpu['flops'] / 1e12:.0f} TFLOP/s and {gpu['texels'] / 1e9:.0f} billion texels a "
        f"second, of which {gpu['share']:.0%} are reached.",
        table([*names, "on the processor, ms", "on the GPU, ms (estimate)"], costs),
    ]


def kills(record: Record) -> list[str]:
    note = (
        "`python run.py` on the built-in scene, made small, is killed by SIGKILL at random moments "
        "of its life, and resumed until it ends. The end is compared with that of an "
        "uninterrupted run: the arrays of the checkpoint, scores, metrics, images, videos, and the "
        f"names of all files, bit for bit. {record['kills']} kills in {record['runs']} runs: "
        f"**{len(record['failures'])}** differences or errors."
    )
    return [note, table(["killed while", "kills"], record["killed_while"].items())]


def processes(record: Record) -> list[str]:
    same, seconds = record["compared_to_one_process"], record["seconds_until_the_other_ended"]
    note = (
        f"Two processes on loopback, one device each, train the same run for {same['steps']} "
        f"steps, and so does one process with two devices: of the {same['arrays']} arrays of the "
        f"training state, **{len(same['arrays_that_differ'])}** differ in any bit. Then one of the "
        "two processes is killed by SIGKILL at a random moment of the run's life; the other must "
        "end by itself, with one line that names it unless its own work is done, and both are "
        "started again, after up to five kills to the end, which must be that of an uninterrupted "
        f"run. {record['kills']} kills: **{len(record['failures'])}** failures; the other process "
        f"ended after {min(seconds):.1f} to {max(seconds):.1f} s, in the median "
        f"{median(seconds):.1f} s "
        "(up to 45 s where it was still waiting for the other to start)."
    )
    return [note, table(["process 0 was", "kills"], record["killed_while"].items())]


def exchange(record: Record) -> list[str]:
    def milliseconds(size: float, processes: int, gigabits: float) -> str:
        return f"{1e3 * 2 * size * (processes - 1) / processes * 8 / (gigabits * 1e9):.2g} ms"

    cases = [(count, rate) for rate in (10, 100) for count in (1, 2, 4, 8, 16, 32, 64)]
    note = (
        "On paper: what all devices sum in a step is the gradient, as large as the parameters, and "
        "a few numbers for the metrics. Rays are sampled where they are used, and the occupancy "
        "grid is refreshed from equal parameters by equal keys in every process, so that neither "
        "travels. A ring all-reduce of B bytes among N processes sends 2 B (N - 1) / N bytes from "
        "each; with the rate of the link, and without latency, that takes:"
    )
    head = ["config", "parameters, MB", "summed, MB"]
    rows = [
        [name, *(f"{size[kind] / 1e6:.2f}" for kind in ("parameters", "summed"))]
        + [milliseconds(size["summed"], *case) for case in cases]
        for name, size in record["bytes"].items()
    ]
    large = record["bytes"]["lego, gpu"]["summed"]
    meaning = (
        "The time does not depend on the number of rays, and hardly on that of processes beyond "
        f"four. The GPU preset of lego, whose step moves 4 GB through a GPU's memory (1.2 ms on "
        f"an H100), exchanges for {milliseconds(large, 64, 100)} at 100 Gbit/s among 64 processes, "
        f"for {milliseconds(large, 64, 10)} at 10: there, more processes only pay with more rays a "
        "step. Fields of a few megabytes, and the networks of the 2020 paper, whose steps take "
        "longer, scale over 10 Gbit/s."
    )
    return [note, table([*head, *(f"{n} at {rate} Gbit/s" for n, rate in cases)], rows), meaning]


def streaming(record: Record) -> list[str]:
    width, height = record["size_wh"]
    difference = [pair["buffer"]["psnr"] - pair["whole"]["psnr"] for pair in record["pairs"]]
    note = (
        f"{record['photos']:,} photos of {width}x{height}, {record['pixels_gb']} GB of pixels, "
        f"trained for {record['steps']} steps with `--data.memory {record['memory']}` and with "
        "room for all of them, in pairs of processes with a seed each. The first one decoded the "
        "photos into the cache as well. The rays a second are, in the median of the pairs, "
        f"**{record['median_relative_speed']}** of those of a run whose photos fit; the PSNR "
        f"differs by {mean(difference):+.2f} dB in the mean, with a standard deviation of "
        f"{stdev(difference):.2f} dB. {record.get('remark', '')}"
    )
    head = ["seed", "photos", "peak memory, GB", "rays a second", "PSNR, dB", "seconds in all"]
    rows = [
        [
            seed,
            {"buffer": "in a buffer", "whole": "in memory"}[name],
            f"{run['peak_gb']:.2f}",
            f"{run['rays_per_second']:,}",
            f"{run['psnr']:.2f}",
            round(run["seconds"]),
        ]
        for seed, pair in enumerate(record["pairs"])
        for name, run in pair.items()
    ]
    return [note, table(head, rows)]


def full_disk(record: Record) -> list[str]:
    note = (
        f"The same run on a small disk, which is filled at a random moment, {record['times']} "
        f"times: {record['ended_with_a_line']} ended with one line of error, the others had room "
        "enough. Every file must be whole, and once there is space, the run must resume to the "
        f"same end: **{len(record['failures'])}** differences, tracebacks or damaged files."
    )
    return [note, table(["full while", "times"], record["full_while"].items())]


def fuzz(record: Record) -> list[str]:
    bad = ("error", "message", "misread", "hang", "crash")
    note = (
        f"{record['inputs']:,} inputs, each with one file changed: bytes flipped, cut, inserted; "
        "values replaced, removed, exchanged. Read: the independent reader (json, NumPy, Pillow or "
        "pycolmap) agrees, where it can read the input. Refused: one line that names the file. "
        f"Anything else ({', '.join(bad)}) is a failure."
    )
    rows = [
        [
            row["format"],
            *(f"{row.get(name, 0):,}" for name in ("inputs", "read", "refused")),
            sum(row.get(name, 0) for name in bad),
        ]
        for row in record["rows"]
    ]
    return [note, table(["format", "inputs", "read", "refused", "failures"], rows)]


def gpu_compile(record: Record) -> list[str]:
    note = (
        "Compiled for cards that were not there, with 100 photos on the card: **nothing was run**, "
        "and no time was measured. Traffic: every kernel reads its operands and writes its results "
        "once, of tables the sectors of 32 bytes that are touched; the milliseconds are those of "
        "the traffic at the card's bandwidth. Of loops whose end only the device knows, for which "
        "the host waits, one iteration is counted. Compare-and-swap and additions are atomic "
        "instructions of the PTX."
    )
    head = ["card", "preset", "program", "memory, GB", "kernels", "traffic, GB", "at bandwidth, ms"]
    head += ["waits for the host", "compare-and-swap", "additions"]
    rows = [
        (
            *cells([row], card="", config="", part="")[0],
            f"{row['memory'] / 1e9:.2f} of {row['card_memory'] / 1e9:.0f}",
            row["kernels"],
            f"{row['bytes'] / 1e9:.2f}",
            f"{row['milliseconds']:.2f}",
            row["host_loops"] + row["branches"],
            *cells([row], compare_and_swap="", add="")[0],
        )
        for row in record["rows"]
    ]
    return [note, table(head, rows)]


def seeds(record: Record) -> list[str]:
    marks = (60, 120, 180, 240, 300, 420, 600)

    def at(curve: list[Record], seconds: float) -> str:
        """The PSNR at a time, or at the end of a run that was shorter."""
        row = next((row for row in curve if row["seconds"] >= seconds), curve[-1])
        return f"{row['psnr']:.2f}"

    note = (
        f"Lego and mic at 400x400, PSNR of val views 0, 12, ..., 84, over {record['seconds']:.0f} s"
        " of training, one run after the other on both cores. Former: the preset and the code of "
        f"commit f70ad02, whose 24,000 steps may end before. {record.get('remark', '')}"
    )
    head = ["scene", "seed", "version", *(f"{mark} s" for mark in marks)]
    head += ["steps", "all views", "worst of all"]
    rows = [
        [
            *cells([row], scene="", seed="", version="")[0],
            *(at(row["curve"], mark) for mark in marks),
            f"{row['curve'][-1]['step']:,}",
            *cells([row["all_views"]], mean=".2f", worst=".2f")[0],
        ]
        for row in record["rows"]
    ]
    return [note, table(head, rows)]


SECTIONS: list[tuple[str, str, Callable[[Record], list[str]]]] = [
    ("Time to PSNR: lego on a CPU", "time_to_psnr_cpu", time_to_psnr),
    ("Time to PSNR: other seeds, mic, and the former preset", "seeds", seeds),
    ("Time to PSNR: lego on a GPU", "time_to_psnr_gpu", time_to_psnr),
    ("The GPU presets, compiled without a GPU", "gpu_compile", gpu_compile),
    ("The time of a step, CPU", "throughput_cpu", throughput),
    ("The time of a step, GPU", "throughput_gpu", throughput),
    ("Scaling, CPU", "scaling_cpu", scaling),
    ("Scaling, GPU", "scaling_gpu", scaling),
    ("Ablations", "ablations", ablations),
    ("Images of other sizes", "scales", scales),
    ("Proposal sampling", "proposals", proposals),
    ("Captures", "captures", captures),
    ("Captures: what no photo shows", "covisible", covisible),
    ("Captures: each photo held out alone", "leave_one_out", leave_one_out),
    ("Floaters", "floaters", floaters),
    ("Meshes", "mesh", mesh),
    ("The web page", "page", page),
    ("The viewer", "viewer", viewer),
    ("Pose refinement", "pose_refinement", pose_refinement),
    ("Killed runs", "kills", kills),
    ("Photos larger than memory", "streaming", streaming),
    ("Several processes", "processes", processes),
    ("The bytes that processes exchange", "exchange", exchange),
    ("Full disks", "full_disk", full_disk),
    ("Damaged inputs", "fuzz", fuzz),
]


def main() -> None:
    parts = ["# Results", "Generated by `python benchmarks/report.py` from `benchmarks/results`."]
    curves = {}
    for title, name, describe in SECTIONS:
        parts.append(f"## {title}")
        path = RESULTS / f"{name}.json"
        if not path.is_file():
            script = name.removesuffix("_cpu").removesuffix("_gpu")
            option = " --preset gpu" if name.endswith("_gpu") else ""
            parts.append(f"Not measured yet: `python benchmarks/{script}.py{option}`.")
            continue
        record = json.loads(path.read_text())
        parts += [*describe(record), made_by(record)]
        if describe is time_to_psnr:
            curves["two CPU cores" if name.endswith("cpu") else record["device"]] = record
            if len(curves) == 1:
                parts.append("![PSNR over training time](time_to_psnr.png)")
    if curves:
        plot(curves)
    (DOCS / "results.md").write_text("\n\n".join(parts) + "\n")
    print(DOCS / "results.md")


if __name__ == "__main__":
    main()
