"""Interactive pages from `assets/`, self-contained as their content security policy enforces."""

import base64
import io
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image


def render(template: str, **values: Any) -> str:
    """Fill in a page of `assets/`, all of which extend `page.html`; text is escaped."""
    assets = Environment(loader=PackageLoader("galaxymorph.plots", "assets"), autoescape=True)
    assets.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return assets.get_template(template).render(values)


def picture(image: np.ndarray, tile: int) -> str:
    """Return an image as base64-encoded WebP of at most `tile` pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((tile, tile), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=80)
    return base64.b64encode(file.getvalue()).decode()
