"""Folders of runs made by hand, and pages read as a browser would read them."""

import html.parser
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nerf_jax.app.runs import Run
from nerf_jax.config.serialization import to_dict
from tests import small

PSNRS = {"r_0": 31.0, "r_1": 24.5, "b/r_2": 35.25, "r_3": 28.0, "r_4": 33.5, "r_5": 29.0}


def results(psnrs: dict[str, float], size: int, **protocol: object) -> dict[str, Any]:
    """As evaluation writes them."""
    each = [{"name": name, "psnr": psnr, "ssim": psnr / 40} for name, psnr in psnrs.items()]
    return {
        "psnr": float(np.mean(list(psnrs.values()))),
        "ssim": 0.75,
        "protocol": {
            "scene": "ball",
            "split": "val",
            "views": len(psnrs),
            "every": 1,
            "image_size_hw": [size, size],
            "downscale": 1,
            "background": "white",
            "quantisation": "none",
            "psnr": "mean of per-image values",
            "ssim": "11x11 Gaussian window, sigma 1.5",
            **protocol,
        },
        "steps": 200,
        "train_seconds": 12.0,
        "compile_seconds": 3.25,
        "device": "cpu (cpu)",
        "versions": {"python": "3.11", "jax": "0.9"},
        "per_image": each,
    }


def write_run(
    folder: Path,
    psnrs: dict[str, float] | None = None,
    *,
    size: int = 16,
    learning_rate: float = 5e-3,
    **protocol: object,
) -> Run:
    """An evaluated run. The truth of its pictures is red, what was learned blue."""
    psnrs = PSNRS if psnrs is None else psnrs
    run = Run(folder)
    config = to_dict(small.config())
    config["optimizer"]["learning_rate"] = learning_rate
    run.write_json("config.json", config)
    run.write_json("results.json", results(psnrs, size, **protocol))
    for number in range(10):
        report = {"step": 20 * number + 20, "train_seconds": 1.2 * number + 1.2}
        val = 18.0 + number if number % 2 else None
        run.add_metrics(
            report | {"psnr": 20.0 + number, "val_psnr": val, "rays_per_second": 1000.0 + number}
        )
    images = folder / "images" / "val"
    images.mkdir(parents=True)
    colors = [(200, 0, 0), (0, 0, 200), (0, 0, 0), (250, 250, 250)]
    panels = [np.full((size, size, 3), color, np.uint8) for color in colors]
    for name in psnrs:
        Image.fromarray(np.hstack(panels)).save(images / f"{name.replace('/', '_')}.png")
    return run


def edit(path: Path, **changes: object) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


VOID = {"meta", "link", "img", "input", "br"}


@dataclass
class Page(html.parser.HTMLParser):
    """The elements of a page: well nested, or an error."""

    text: str
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self.words = ""
        self.feed(self.text)
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1] == tag, f"</{tag}> within <{self._open[-1]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.words += f" {data}"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of the elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def said(self) -> str:
        """What is to be read, with single spaces."""
        return " ".join(self.words.split())


def check(page: Page) -> None:
    """What every page keeps to: described pictures, names used once, nothing from elsewhere."""
    assert page.text.startswith("<!doctype html>")
    assert page.all("html")[0]["lang"] == "en"
    assert all("alt" in image for image in page.all("img"))
    assert all("aria-label" in control for control in page.all("input") + page.all("select"))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    for _, attributes in page.elements:
        for key in ("src", "href"):
            address = attributes.get(key) or "data:"
            assert not address.startswith(("http:", "https:", "//", "/")), address
    assert "@import" not in page.text
    assert "url(" not in page.text
