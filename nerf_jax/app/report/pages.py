"""The templates of the pages, filled and written."""

import functools
import math
from pathlib import Path
from typing import Any

from nerf_jax.app.report import text
from nerf_jax.data.files import atomic_write, optional_import

TEMPLATES = Path(__file__).parent / "pages"


@functools.cache
def _environment(folder: Path) -> Any:
    jinja2 = optional_import("jinja2", "jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,  # names of photos and folders may contain any character
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (text.fixed, text.count, text.seconds, text.setting)
    environment.filters |= {function.__name__: function for function in filters}
    environment.tests["known"] = math.isfinite
    return environment


def render_template(template: str, folder: Path = TEMPLATES, **values: Any) -> str:
    """The text of a template with its values."""
    return _environment(folder).get_template(template).render(values)


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Write a template with its values; raises as :func:`write_text` does."""
    return write_text(path, render_template(template, **values))


def write_text(path: Path, page: str) -> Path:
    """Write the text of a page, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        with atomic_write(path) as aside:
            aside.write_text(page, encoding="utf-8")
    except OSError as error:
        raise OSError(
            f"{path}: the page could not be written ({error.strerror}); free some space there, or "
            "name another file"
        ) from error
    return path
