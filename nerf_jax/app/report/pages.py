"""Templates, and how a page of them is written."""

import functools
import math
from pathlib import Path
from typing import Any

from nerf_jax.app.report import text
from nerf_jax.data.files import atomic_write, optional_import

TEMPLATES = Path(__file__).parent / "pages"


@functools.cache
def _environment() -> Any:
    jinja2 = optional_import("jinja2", "jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,  # names of photos and paths are anyone's
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "fixed": text.fixed,
        "count": text.count,
        "seconds": text.seconds,
        "setting": text.setting,
    }
    environment.tests["known"] = math.isfinite
    return environment


def filled(template: str, **values: Any) -> str:
    """A template with its values."""
    return _environment().get_template(template).render(values)


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Write a page, whole or not at all.

    Raises:
        OSError: it cannot be written there.
    """
    text = filled(template, **values)
    try:
        with atomic_write(path) as aside:
            aside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OSError(
            f"{path}: the page could not be written ({error.strerror}); make room there, or name "
            "another file"
        ) from error
    return path
