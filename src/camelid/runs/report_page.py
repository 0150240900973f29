"""A page of a report's look, with its one style sheet and a policy that allows nothing else: no script, no request."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from typing import Any

from markupsafe import Markup


def render_page(template: str, **values: Any) -> str:
    """Fill a template of assets/report; every value is escaped."""
    import jinja2  # only who writes a report needs it

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, loader=jinja2.FunctionLoader(_asset)
    )
    style = _asset("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(template).render(style=Markup(style), style_hash=f"sha256-{digest}", **values)


def _asset(name: str) -> str:
    return importlib.resources.files("camelid").joinpath("assets", "report", name).read_text(encoding="utf-8")
