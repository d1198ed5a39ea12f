"""What every HTML page of ours needs: templates that escape whatever they are given, and a strict content policy."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from auditor.report import figures
from auditor.report.style import compact, stylesheet
from auditor.texts import LANGUAGE, say


def templates(package: str) -> Environment:
    """The templates of a package: every name is escaped, and an unknown variable is an error."""
    return Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def known_by(text: str) -> str:
    """The source expression by which a content policy knows an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def report_templates() -> Environment:
    """The templates of reports and cards, with their style, script and content policy."""
    environment = templates("auditor.report")
    style, script = compact(stylesheet()), _script()
    policy = (
        f"default-src 'none'; style-src {known_by(style)}; script-src {known_by(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    environment.globals.update(
        say=say,
        fig=figures,
        language=LANGUAGE,
        style=Markup(style),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
        policy=policy,
    )
    return environment


def _script() -> str:
    """The script without its comments."""
    code = files("auditor.report").joinpath("templates/report.js").read_text(encoding="utf-8")
    return "\n".join(line for line in code.splitlines() if line.strip() and not line.lstrip().startswith("//")) + "\n"
