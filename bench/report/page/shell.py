"""Pages that are a single file with styles, scripts and figures, and make no requests.

Texts of models and people are never markup: the templates escape them and write control characters
out, data for the scripts is JSON in which `<` and `&` are escaped, the scripts set text only, and
the page's content security policy lets no script run except its own, identified by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.errors import printable
from bench.report.figure import page_spec

STYLE = "page.css"
HEAD = ("theme.js",)
FIGURES = ("vega", "charts.js")


def render(template: str, title: str, scripts: Sequence[str] = (), **values: Any) -> str:
    """A page as text.

    Args:
        template: a file of this folder that extends base.html.
        title: the page's title.
        scripts: files of this folder, or `vega`, in the order in which they run.
        values: the template's values, which it escapes.
    """
    head, body = [list(map(_script, names)) for names in (HEAD, scripts)]
    # Ours, and put in as it is: escaped, neither styles nor scripts would be what they are.
    return (
        _environment()
        .get_template(template)
        .render(
            title=title,
            policy=_policy([*head, *body]),
            style=Markup(_asset(STYLE)),
            head_scripts=list(map(Markup, head)),
            scripts=list(map(Markup, body)),
            **values,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bench.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_written_out,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["page_spec"] = page_spec
    return environment


def _written_out(value: Any) -> Any:
    """Text with its control characters written out; ours, and data for scripts, as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(scripts: Sequence[str]) -> str:
    """The content security policy: the page may run these scripts, and style itself."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script(name: str) -> str:
    return _vega() if name == "vega" else _asset(name)


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _vega() -> str:
    """The scripts of vega, vega-lite and vega-embed (BSD licences), 0.9 MB; takes seconds."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    if "</script" in bundle or "<!--" in bundle:
        raise ValueError("vega's scripts contain a tag that would end their own element")
    return bundle
