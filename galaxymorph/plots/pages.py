"""Interactive pages from `assets/`, self-contained as their content security policy enforces."""

from typing import Any

from jinja2 import Environment, PackageLoader


def render(template: str, **values: Any) -> str:
    """Fill in a page of `assets/`, all of which extend `page.html`; text is escaped."""
    assets = Environment(loader=PackageLoader("galaxymorph.plots", "assets"), autoescape=True)
    assets.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return assets.get_template(template).render(values)
