"""The command `audit`: its sub-commands, and the one place where exceptions become messages and exit codes.

Sub-commands import what they need when they run, so that `audit --help` stays quick and torch is imported by
`audit refs train` alone.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import traceback
from importlib import import_module
from typing import Annotated, Any

import typer

# An audit multiplies small matrices; threads cost more than they give, badly so on a busy machine.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from auditor._version import __version__
from auditor.cli.output import complain
from auditor.errors import AuditorError

SETTINGS = {"help_option_names": ["-h", "--help"]}
INTERRUPTED = 130

COMMANDS = {
    "check": "check",
    "inspect": "anatomy",
    "compare": "anatomy",
    "scan": "scan",
    "search": "search",
    "report": "report",
    "exhibit": "exhibit",
    "attest": "attest",
    "verify": "attest",
    "reproduce": "attest",
    "serve": "serve",
    "map": "map",
}
"""Command → its module in `auditor.cli`, in the order of the help; `refs` comes last and has commands of its own."""
REFS = "refs"

_CHOICE = re.compile(r"(?:Value error, )?'(?P<given>.*)' is not one of (?P<known>'.*')\.?", re.DOTALL)
"""How the parser says that a value is none of several."""
_UsageFault: Any = typer.BadParameter.__mro__[1]
"""The command-line parser's own base of wrong options and arguments."""


def _show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        typer.echo(f"audit {__version__}")
        raise typer.Exit


def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Whose style does this LoRA carry, and how sure may anyone be?"""


def command_line(only: str | None = None) -> typer.Typer:
    """The program with all commands, or with the one asked for: to make the others takes as long as to import."""
    app = typer.Typer(
        name="audit",
        help=main.__doc__,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings=SETTINGS,
    )
    app.callback()(main)
    for name, module in COMMANDS.items():
        if only in (None, name):
            command = getattr(import_module(f"auditor.cli.{module}"), "style_map" if name == "map" else name)
            app.command(name, context_settings=SETTINGS)(command)
    if only in (None, REFS):
        app.add_typer(import_module("auditor.cli.refs").refs, name=REFS)
    return app


def run() -> None:
    """Entry point of the installed command: run, and exit with the code of the contract."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(guarded(sys.argv[1:]))


def guarded(arguments: list[str]) -> int:
    """The exit code of `audit` with `arguments`; every failure is told in one paragraph on stderr."""
    try:
        asked = arguments[0] if arguments and arguments[0] in (*COMMANDS, REFS) else None
        code = int(command_line(asked)(arguments, prog_name="audit", standalone_mode=False) or 0)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code
    except _UsageFault as fault:
        return _tell_usage(fault, arguments)
    except (typer.Abort, KeyboardInterrupt):
        complain("Interrupted.")
        return INTERRUPTED
    except AuditorError as error:
        if os.environ.get("AUDIT_DEBUG"):
            traceback.print_exc()
        complain(str(error))
        return error.exit_code
    except Exception as error:
        return _tell_full(error) if _is_full(error) else _tell_unexpected(error)


def _tell_usage(fault: Any, arguments: list[str]) -> int:
    """What is wrong with the command line; without any argument, the help."""
    context = fault.ctx
    if type(fault).__name__ == "NoArgsIsHelpError":
        fault.show()
        return 2
    unknown = context and context.parent is None and re.fullmatch(r"No such command '.*'\.?", fault.message, re.DOTALL)
    if unknown and _is_suspect(arguments[0]):
        complain(f"No command is named. Did you mean `audit check {shlex.quote(arguments[0])}`?")
        return 2
    hint = f" See '{context.command_path} --help'." if context else ""
    complain(_in_short(fault) + hint)
    return 2


def _is_suspect(name: str) -> bool:
    """Whether somebody who gives this for a command means a file to check."""
    from auditor.sources import is_remote
    from auditor.sources.local import ENDINGS

    return is_remote(name) or name.lower().endswith(ENDINGS) or os.path.exists(name)


def _in_short(fault: Any) -> str:
    """What the parser says, without its insides: the variable is named only where the value came from it."""
    parameter, said = getattr(fault, "param", None), fault.format_message()
    if parameter is not None:
        source = fault.ctx.get_parameter_source(parameter.name) if fault.ctx else None
        from_variable = source is not None and source.name == "ENVIRONMENT"
        if choice := _CHOICE.fullmatch(fault.message):
            from difflib import get_close_matches  # for who misspells a value

            known = re.findall("'([^']*)'", choice["known"])
            near = get_close_matches(choice["given"].lower(), known, 1)
            where = parameter.envvar if from_variable else parameter.opts[0]
            meant = f" Did you mean {near[0]}?" if near else ""
            return f"{where} cannot be '{choice['given']}'.{meant} It can be {', '.join(known)}."
        said = said if from_variable else said.replace(f" (env var: '{parameter.envvar}')", "")
    return said if said.endswith("?") else f"{said.rstrip('.')}."


def _is_full(error: Exception) -> bool:
    """Whether the system could not take what was written: that is no fault of this program."""
    full = (errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC))
    return isinstance(error, OSError) and error.errno in full


def _tell_full(error: Exception) -> int:
    """A stream or a temporary file that takes no more."""
    if os.environ.get("AUDIT_DEBUG"):
        traceback.print_exc()
    place = getattr(error, "filename", None) or "Standard output or a temporary file"
    reason = getattr(error, "strerror", None) or error
    complain(f"{place} could not be written: {reason}. Make room, or send the output elsewhere.")
    return AuditorError.exit_code


def _tell_unexpected(error: Exception) -> int:
    """A fault of this program: one line, or with AUDIT_DEBUG=1 the traceback."""
    if os.environ.get("AUDIT_DEBUG"):
        traceback.print_exc()
    complain(
        f"This is a fault of audit itself: {type(error).__name__}: {error}. Nothing was concluded about any file. "
        "Please report it with the command you ran; AUDIT_DEBUG=1 shows where it happened."
    )
    return 1
