"""A report as one HTML file: no script, nothing from elsewhere, and every word in it escaped.

Words come from models that were trained on whatever users typed, names and cards from whoever sent the run: all of it
passes `one_line`, which shows what would command a terminal or turn the direction of writing, and then the escaping
of HTML. The page's own policy lets a browser load nothing but the pictures in it, and no style but its own.
"""

import os
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fedprobe.errors import RequestError
from fedprobe.modeler.printable import one_line
from fedprobe.modeler.report.content import Report
from fedprobe.modeler.report.images import data_uri
from fedprobe.modeler.report.words import cut


def render(report: Report) -> str:
    """The report as HTML."""
    pages = _environment()
    style = pages.get_template("style.css").render()
    digest = b64encode(sha256(style.encode()).digest()).decode()
    return pages.get_template("page.html").render(report=report, style_digest=digest)


def write_report(path: Path, page: str) -> Path:
    """Write the page, whole or not at all; return `path`."""
    require_html(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.temporary")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)
    return path


def require_html(path: Path) -> None:
    """Raise RequestError for a report's name that does not end in .html."""
    if path.suffix.lower() != ".html":
        raise RequestError(f"{path}: a report is HTML, so give a name that ends in .html")


@cache
def _environment() -> Environment:
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"picture": data_uri, "cut": cut}
    return pages


def _shown(value: object) -> object:
    """Whatever a template prints, before it is escaped; what its own macros made is a page already."""
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value
