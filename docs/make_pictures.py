"""Make the README's pictures from a run of the built-in scene.

    python run.py --output outputs/minute
    python run.py --output outputs/ten_seconds --train.num_steps 500
    python run.py export outputs/minute
    python run.py render outputs/minute --path spiral --outputs color depth normals --num-frames 40
    python docs/make_pictures.py outputs/minute outputs/ten_seconds

They are written beside this script. The viewer's is of a real page, in Debian's Chromium.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import trimesh
from PIL import Image
from playwright.sync_api import sync_playwright

from nerf_jax.app.images import to_uint8
from nerf_jax.app.report import compare
from nerf_jax.app.runs import Run
from nerf_jax.app.scene_cameras import SceneCameras

DOCS = Path(__file__).parent
ROOT = DOCS.parent


def strip(run: Path, view: str, scale: int = 2) -> None:
    """One held-out view: truth, rendering, error, depth."""
    image = Image.open(run / "images" / "val" / f"{view}.png")
    size = (image.width * scale, image.height * scale)
    image.resize(size, Image.Resampling.LANCZOS).save(DOCS / "held_out.png", optimize=True)


def turn(run: Path) -> None:
    """The orbit, colour beside depth, as a GIF that repeats."""
    _beside([run / "orbit.mp4", run / "orbit_depth.mp4"], DOCS / "orbit.gif")


def flight(run: Path) -> None:
    """A spiral: colour, depth and normals."""
    names = "spiral.mp4", "spiral_depth.mp4", "spiral_normals.mp4"
    _beside([run / name for name in names], DOCS / "film.gif")


def _beside(videos: list[Path], out: Path, height: int = 256) -> None:
    """Videos side by side as a GIF that repeats."""
    inputs = [part for video in videos for part in ("-i", str(video))]
    streams = "".join(f"[{number}]" for number in range(len(videos)))
    stacked = f"{streams}hstack=inputs={len(videos)},scale=-1:{height}:flags=lanczos"
    palette = "split[a][b];[a]palettegen=max_colors=128[p];[b][p]paletteuse=dither=bayer"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *inputs]
    subprocess.run([*command, "-filter_complex", f"{stacked},{palette}", str(out)], check=True)


def report(run: Path) -> None:
    """The run's report down to its first view."""
    _page_down_to("article", run / "report.html", DOCS / "report.png")


def comparison(runs: list[Path]) -> None:
    """The page of several runs, down to two of them laid over each other."""
    with tempfile.TemporaryDirectory() as folder:
        page = compare(list(map(Run, runs)), Path(folder) / "compare.html")
        _page_down_to(".stage", page, DOCS / "compare.png")


def _page_down_to(part: str, html: Path, out: Path, width: int = 1080) -> None:
    """A page down to the end of the first such part of it, as a browser shows it."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = chromium.new_page(viewport={"width": width, "height": 2400})
        page.goto(html.resolve().as_uri())
        page.add_style_tag(content="video::-webkit-media-controls { display: none }")
        page.evaluate("document.querySelectorAll('video').forEach((v) => v.pause())")
        page.evaluate("document.querySelectorAll('video').forEach((v) => (v.currentTime = 0.4))")
        page.wait_for_timeout(500)
        last = page.locator(part).first.bounding_box()
        clip = {"x": 0, "y": 0, "width": width, "height": last["y"] + last["height"] + 40}
        page.screenshot(path=out, clip=clip)
        chromium.close()


def page(run: Path) -> None:
    """The viewer, as it is after somebody has stepped back a little."""
    command = [sys.executable, "-u", str(ROOT / "run.py"), "view", str(run), "--port", "8300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as viewer:
        assert viewer.stdout is not None
        try:
            lines = iter(viewer.stdout.readline, "")
            (url,) = next(found for line in lines if (found := re.findall(r"viewer: (\S+)", line)))
            _photograph(url)
        finally:
            viewer.terminate()


def _photograph(url: str) -> None:
    """The page at an address, once it is sharp and all photos hang."""
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        window = browser.new_page(viewport={"width": 1280, "height": 720})
        window.goto(url)
        window.get_by_text("pixels in").wait_for(timeout=120_000)
        notices = window.locator(".mantine-Notification-closeButton")
        if notices.count():  # that nothing but software draws
            notices.first.click()
        box = window.locator("canvas").first.bounding_box()
        assert box is not None
        window.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        window.mouse.wheel(0, 300)
        window.wait_for_timeout(20_000)
        window.screenshot(path=DOCS / "viewer.png")
        browser.close()


def sides(run: Path, view: str, size: int = 256) -> None:
    """The mesh: a photo that it never saw, itself from there, from behind, and without colours."""
    mesh = trimesh.load(run / "export" / "mesh.ply", process=False)
    shots = SceneCameras.load(Run(run).setting_file).splits["val"]
    number = shots.names.index(view)
    before = shots.cameras.world_from_camera[number].astype(float)
    behind = np.diag([-1.0, -1.0, 1.0]) @ before
    focal = float(shots.cameras.focal[number].mean()) * size / shots.size_hw[0]
    colors = mesh.visual.vertex_colors[:, :3] / 255
    light = np.array([0.4, 0.2, 0.9])
    gray = np.repeat(0.3 + 0.6 * np.maximum(mesh.vertex_normals @ light, 0)[:, None], 3, axis=1)
    views = [(before, colors), (behind, colors), (behind, gray)]
    drawn = [draw(mesh, shade, pose, focal, size) for pose, shade in views]
    strip = Image.open(run / "images" / "val" / f"{view}.png")
    photo = strip.crop((0, 0, strip.height, strip.height)).resize((size, size))
    picture = np.hstack([np.asarray(photo), *map(to_uint8, drawn)])
    Image.fromarray(picture).save(DOCS / "mesh.png", optimize=True)


def draw(
    mesh: trimesh.Trimesh, colors: np.ndarray, pose: np.ndarray, focal: float, size: int
) -> np.ndarray:
    """A mesh as a pinhole sees it: the nearest of many places on each triangle, a pixel being the
    mean of three by three.
    """
    fine, steps = 3 * size, 6  # places on a triangle are then closer than pixels
    share = np.array(
        [[i, j, steps - i - j] for i in range(steps + 1) for j in range(steps + 1 - i)]
    )
    nearest = np.full(fine**2, np.inf)
    image = np.ones((fine**2, 3))
    local = (mesh.vertices - pose[:, 3]) @ pose[:, :3]
    for part in share / steps:
        place, shade = (np.einsum("k,fkd->fd", part, all_[mesh.faces]) for all_ in (local, colors))
        depth = -place[:, 2]
        column, row = (
            (fine / 2 + sign * 3 * focal * place[:, axis] / depth).astype(int)
            for axis, sign in ((0, 1), (1, -1))
        )
        pixel = np.clip(row, 0, fine - 1) * fine + np.clip(column, 0, fine - 1)
        order = np.argsort(-depth)  # the nearest is written last
        pixel, depth, shade = pixel[order], depth[order], shade[order]
        closer = depth < nearest[pixel]
        image[pixel[closer]] = shade[closer]
        nearest[pixel[closer]] = depth[closer]
    return image.reshape(size, 3, size, 3, 3).mean(axis=(1, 3))


if __name__ == "__main__":
    first, second = map(Path, sys.argv[1:])
    strip(first, view="val_03")
    turn(first)
    flight(first)
    report(first)
    comparison([first, second])
    page(first)
    sides(first, view="val_03")
