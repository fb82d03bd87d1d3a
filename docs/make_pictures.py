"""Make the README's pictures from a run of the built-in scene.

    python run.py --output outputs/minute
    python run.py --output outputs/ten_seconds --train.num_steps 500
    python run.py export outputs/minute
    python run.py render outputs/minute --path spiral --outputs color depth normals --num-frames 40
    python docs/make_pictures.py outputs/minute outputs/ten_seconds

They are written to the folder of this script. Pages are opened in Debian's Chromium.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import trimesh
from PIL import Image

from nerf_jax.app.images import to_uint8
from nerf_jax.app.report.comparison import compare
from nerf_jax.app.runs import Run
from nerf_jax.app.scene_cameras import SceneCameras

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.append(str(ROOT))
from tests.browser import WEBGL, chromium  # noqa: E402


def strip(run: Path, view: str, scale: int = 2) -> None:
    """One held-out view: photo, rendering, error, depth."""
    image = Image.open(run / "images" / "val" / f"{view}.png")
    size = (image.width * scale, image.height * scale)
    image.resize(size, Image.Resampling.LANCZOS).save(DOCS / "held_out.png", optimize=True)


def orbit(run: Path) -> None:
    """The orbit, colour and depth, as a GIF that repeats."""
    _side_by_side([run / "orbit.mp4", run / "orbit_depth.mp4"], DOCS / "orbit.gif")


def spiral(run: Path) -> None:
    """The spiral, colour, depth and normals, as a GIF that repeats."""
    names = "spiral.mp4", "spiral_depth.mp4", "spiral_normals.mp4"
    _side_by_side([run / name for name in names], DOCS / "film.gif")


def _side_by_side(videos: list[Path], out: Path, height: int = 256) -> None:
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


def scene_page(run: Path) -> None:
    """The scene's own page, once it is sharp."""
    with chromium(*WEBGL) as browser:
        tab = browser.new_page(viewport={"width": 720, "height": 600})
        tab.goto((run / "scene.html").resolve().as_uri())
        tab.wait_for_selector("html[data-state=sharp]", state="attached", timeout=600_000)
        tab.screenshot(path=DOCS / "page.png")


def comparison(runs: list[Path]) -> None:
    """The page that compares several runs, down to the slider between two of them."""
    with tempfile.TemporaryDirectory() as folder:
        page = compare(list(map(Run, runs)), Path(folder) / "compare.html")
        _page_down_to(".stage", page, DOCS / "compare.png")


def _page_down_to(part: str, html: Path, out: Path, width: int = 1080) -> None:
    """A screenshot of a page down to the end of the first element that ``part`` selects."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 2400})
        page.goto(html.resolve().as_uri())
        page.add_style_tag(content="video::-webkit-media-controls { display: none }")
        page.evaluate("document.querySelectorAll('video').forEach((v) => v.pause())")
        page.evaluate("document.querySelectorAll('video').forEach((v) => (v.currentTime = 0.4))")
        page.wait_for_timeout(500)
        last = page.locator(part).first.bounding_box()
        clip = {"x": 0, "y": 0, "width": width, "height": last["y"] + last["height"] + 40}
        page.screenshot(path=out, clip=clip)


def page(run: Path) -> None:
    """The viewer, with the camera moved back a little."""
    command = [sys.executable, "-u", str(ROOT / "run.py"), "view", str(run), "--port", "8300"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as viewer:
        assert viewer.stdout is not None
        try:
            lines = iter(viewer.stdout.readline, "")
            (url,) = next(found for line in lines if (found := re.findall(r"viewer: (\S+)", line)))
            _screenshot_viewer(url)
        finally:
            viewer.terminate()


def _screenshot_viewer(url: str) -> None:
    """A screenshot of the viewer with its final picture and all photos."""
    with chromium(*WEBGL) as browser:
        window = browser.new_page(viewport={"width": 1280, "height": 720})
        window.goto(url)
        window.get_by_text("pixels in").wait_for(timeout=120_000)
        notices = window.locator(".mantine-Notification-closeButton")
        if notices.count():  # a warning about software rendering
            notices.first.click()
        box = window.locator("canvas").first.bounding_box()
        assert box is not None
        window.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        window.mouse.wheel(0, 300)
        window.wait_for_timeout(20_000)
        window.screenshot(path=DOCS / "viewer.png")


def sides(run: Path, view: str, size: int = 256) -> None:
    """A held-out photo, the mesh from its camera, from the back, and without colours."""
    mesh = trimesh.load(run / "export" / "mesh.ply", process=False)
    split = SceneCameras.load(Run(run).setting_file).splits["val"]
    index = split.names.index(view)
    front = split.cameras.world_from_camera[index].astype(float)
    back = np.diag([-1.0, -1.0, 1.0]) @ front
    focal = float(split.cameras.focal[index].mean()) * size / split.size_hw[0]
    colors = mesh.visual.vertex_colors[:, :3] / 255
    light = np.array([0.4, 0.2, 0.9])
    gray = np.repeat(0.3 + 0.6 * np.maximum(mesh.vertex_normals @ light, 0)[:, None], 3, axis=1)
    views = [(front, colors), (back, colors), (back, gray)]
    rendered = [render(mesh, shade, pose, focal, size) for pose, shade in views]
    strip = Image.open(run / "images" / "val" / f"{view}.png")
    photo = strip.crop((0, 0, strip.height, strip.height)).resize((size, size))
    picture = np.hstack([np.asarray(photo), *map(to_uint8, rendered)])
    Image.fromarray(picture).save(DOCS / "mesh.png", optimize=True)


def render(
    mesh: trimesh.Trimesh, colors: np.ndarray, pose: np.ndarray, focal: float, size: int
) -> np.ndarray:
    """Render a mesh with a pinhole by splatting points of each triangle with a depth buffer.

    A pixel is the mean of 3x3 samples.
    """
    fine, steps = 3 * size, 6  # points of a triangle are then closer than pixels
    share = np.array(
        [[i, j, steps - i - j] for i in range(steps + 1) for j in range(steps + 1 - i)]
    )
    nearest = np.full(fine**2, np.inf)
    image = np.ones((fine**2, 3))
    local = (mesh.vertices - pose[:, 3]) @ pose[:, :3]
    for part in share / steps:
        point, shade = (np.einsum("k,fkd->fd", part, all_[mesh.faces]) for all_ in (local, colors))
        depth = -point[:, 2]
        column, row = (
            (fine / 2 + sign * 3 * focal * point[:, axis] / depth).astype(int)
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
    orbit(first)
    spiral(first)
    report(first)
    comparison([first, second])
    scene_page(first)
    page(first)
    sides(first, view="val_03")
