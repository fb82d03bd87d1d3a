"""The size, the fidelity and the cost of a scene's web page.

    python run.py --output outputs/bricks
    python benchmarks/page.py outputs/bricks outputs/lego outputs/fox

Each page is opened in Chromium, which draws it on the processor (SwiftShader), without a network.
The PSNR is of its canvas against ``render`` of the run, from two training cameras at 128x128. The
cost of a frame is that of 400x400 pixels, of the first training camera: the mean number of samples
and of texels read on a ray, counted by a shader with counters at 128x128, and the time of a
drawing, from a tenth of its rows.
Writes ``benchmarks/results/page.json``.
"""

import argparse
import base64
import io
import json
import re
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page
from record import write_record

from nerf_jax.app import trained
from nerf_jax.app.images import color_depth
from nerf_jax.app.page import page_html
from nerf_jax.app.runs import Run
from nerf_jax.app.trained import Trained
from nerf_jax.types import Cameras

sys.path.append(str(Path(__file__).parent.parent))
from tests.browser import WEBGL, chromium

SIZE, FRAME = 128, 400
VIEWS = (0, 7)
GPU = {"name": "an integrated laptop GPU", "flops": 2e12, "texels": 6e10, "share": 0.2}
"""Peak rates of Intel's Iris Xe with 96 units at 1.3 GHz, and the share of them that is assumed."""


def cameras(scene: Trained, size: int) -> Cameras:
    """The training cameras without their lenses, as a square page shows them."""
    height, width = scene.size_hw
    factor, given = np.float32(size / max(height, width)), scene.cameras()._replace(lens=None)
    offset = given.principal - np.array([width, height], np.float32) / 2
    return given._replace(focal=given.focal * factor, principal=size / 2 + factor * offset)


def canvas(page: Page) -> np.ndarray:
    """The sharp picture, [H, W, 3] in [0, 1]."""
    page.wait_for_selector("html[data-state=sharp]", state="attached", timeout=600_000)
    content = base64.b64decode(page.evaluate("canvas.toDataURL()").split(",")[1])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) / 255


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((image - np.clip(truth, 0, 1)) ** 2)))


def opened(browser: Browser, html: str, folder: Path, size: int) -> tuple[Page, float]:
    """A page, and the seconds until its first picture."""
    path = folder / "scene.html"
    path.write_text(html)
    page = browser.new_page(viewport={"width": size, "height": size})
    page.context.set_offline(True)
    start = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", state="attached", timeout=120_000)
    return page, time.perf_counter() - start


def fidelity(browser: Browser, scene: Trained, html: str, folder: Path) -> dict[str, float]:
    """The least PSNR of colours and of coloured depths over the views."""
    settings = json.loads(re.search(r'id="scene">(.*?)</script>', html, re.DOTALL)[1])  # type: ignore
    page, seconds = opened(browser, html, folder, SIZE)
    scores = []
    for view in VIEWS:
        found = scene.render(cameras(scene, SIZE), view, (SIZE, SIZE))
        page.evaluate(f"while (state.view !== {view}) document.getElementById('next').click()")
        color = psnr(canvas(page), np.asarray(found.rgb))
        page.evaluate("document.getElementById('depth').click()")
        depths = np.asarray(found.median_depth), np.asarray(found.opacity)
        depth = psnr(canvas(page), color_depth(*depths, *settings["depthRange"]))
        page.evaluate("document.getElementById('depth').click()")
        scores.append((color, depth))
    page.close()
    color, depth = np.min(scores, axis=0)
    return {"megabytes": len(html) / 1e6, "first_picture": seconds, "psnr": color, "depth": depth}


COUNTERS = {
    "out vec4 pixel;": "out vec4 pixel; ivec3 counts = ivec3(0);",
    "if (t >= ray.stop) break;": "if (t >= ray.stop) break; counts.x++;",
    "    k++;\n": "    k++; counts.y++;\n",
    "    if (colored) {\n": "    if (colored) { counts.z++;\n",
    "behind, 1.0);": "behind, 1.0); pixel.xyz = vec3(counts) / 255.0;",
}


def counts(browser: Browser, html: str, folder: Path) -> dict[str, float]:
    """Steps, densities and colours of a ray: means over a view; at most 255 of each are counted."""
    for text, counted in COUNTERS.items():
        assert html.count(text) == 1, text
        html = html.replace(text, counted)
    page, _ = opened(browser, html, folder, SIZE)
    means = 255 * canvas(page).mean(axis=(0, 1))
    page.close()
    return dict(zip(("steps", "densities", "colors"), map(float, means), strict=True))


def milliseconds(browser: Browser, html: str, folder: Path) -> float:
    """Of a frame: ten times the fastest of three drawings of ten bands of its rows."""
    page, _ = opened(browser, html, folder, FRAME)
    page.evaluate(f"state.done = {FRAME - 1}")  # of the sharp picture, the last row is enough
    page.wait_for_selector("html[data-state=sharp]", state="attached", timeout=600_000)
    found: float = page.evaluate(
        """() => {
          const gl = canvas.getContext("webgl2"), pixel = new Uint8Array(4);
          gl.bindFramebuffer(gl.FRAMEBUFFER, null);
          gl.viewport(0, 0, canvas.width, canvas.height);
          gl.enable(gl.SCISSOR_TEST);
          const times = [0, 1, 2].map(() => {
            const start = performance.now();
            for (let row = canvas.height / 20; row < canvas.height; row += canvas.height / 10) {
              gl.scissor(0, row, canvas.width, canvas.height / 100);
              gl.drawArrays(gl.TRIANGLES, 0, 3);
            }
            gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
            return performance.now() - start;
          });
          return 10 * Math.min(...times);
        }"""
    )
    page.close()
    return found


def cost(scene: Trained, each: dict[str, float]) -> dict[str, float]:
    """The arithmetic of a ray, and the estimate of a frame on an integrated GPU."""
    model: Any = scene.config.model
    width, features = model.width, model.num_levels * model.num_features
    density = 2 * (features * width + width * 16 + 8 * features)
    color = 2 * (15 * width + width**2 + 3 * width)
    flops = each["densities"] * density + each["colors"] * color + 2 * 16 * width
    per_density = 8 * model.num_levels * -(-model.num_features // 4)
    texels = 2 * each["steps"] + per_density * each["densities"]
    rays = FRAME**2 / GPU["share"]
    estimate = 1e3 * rays * (flops / GPU["flops"] + texels / GPU["texels"])
    return {"kiloflops": flops / 1e3, "texels": texels, "gpu_ms_estimate": estimate}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", type=Path)
    rows = []
    with chromium(*WEBGL) as browser, tempfile.TemporaryDirectory() as folder:
        for run in parser.parse_args().runs:
            scene = trained.load(Run(run))
            pages = {bits: page_html(scene, bits) for bits in (16, 8)}
            each = counts(browser, pages[16], Path(folder))
            row: dict[str, Any] = {
                "run": scene.config.name,
                "steps_trained": int(scene.state.step),
                "half_floats": fidelity(browser, scene, pages[16], Path(folder)),
                "eight_bits": fidelity(browser, scene, pages[8], Path(folder)),
                "a_ray": each | cost(scene, each),
                "milliseconds": milliseconds(browser, pages[16], Path(folder)),
            }
            rows.append(row)
            print(json.dumps(row))
        versions = {"chromium": browser.version, "playwright": metadata.version("playwright")}
    write_record(Path(__file__), {"size": SIZE, "frame": FRAME, "gpu": GPU, "rows": rows}, versions)


if __name__ == "__main__":
    main()
