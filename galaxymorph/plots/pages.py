"""Interactive pages from `assets/`, self-contained as their content security policy enforces."""

import base64
import hashlib
from pathlib import PurePath
from typing import Any

from jinja2 import Environment, PackageLoader


def render(template: str, **values: Any) -> str:
    """Fill in a page of `assets/`, all of which extend `page.html`; text is escaped.

    The page runs the script beside it, `<template>.js`, and no other: its policy has the hash."""
    assets = Environment(loader=PackageLoader("galaxymorph.plots", "assets"), autoescape=True)
    assets.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    script = assets.loader.get_source(assets, f"{PurePath(template).stem}.js")[0]  # pyright: ignore
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return assets.get_template(template).render(values, script=script, hash=digest)
