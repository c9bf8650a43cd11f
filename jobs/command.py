"""What every command shares: exit codes, messages without a traceback, and the ``--debug`` switch."""

from __future__ import annotations

import errno
import io
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from allscan.errors import AllscanError, RunStoppedError
from allscan.jobs.run_folder import output_error
from allscan.storage import local_path, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from allscan.storage import Place

SYSTEM_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""Errors of the system that say something of the disk or the permissions, wherever they arise."""

_LESS_MEMORY = "use fewer workers (--workers) or a larger machine; finished work is kept"

EXIT_BUG = 1
EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Where tasks run."""
    command = click.option(
        "--address", metavar="WHERE", help="Ray cluster: local, auto, HOST:PORT or ray://HOST:PORT; implies ray."
    )(command)
    return click.option("--executor", type=click.Choice(["embedded", "ray"]), help="Where tasks run.")(command)


def runtime_options(command: Callable[..., None]) -> Callable[..., None]:
    """Run-time settings that may be given as flags; science stands in the job file."""
    command = click.option("--memory", metavar="SIZE", help="Memory the job may use, e.g. 8GB.")(command)
    command = cluster_options(command)
    return click.option("--workers", type=click.IntRange(1), help="Tasks at the same time.")(command)


def promise(interrupted: str) -> None:
    """What Ctrl-C shall say during this command."""
    click.get_current_context().find_root().obj["interrupted"] = interrupted


class PlaceType(click.ParamType):  # type: ignore[type-arg] # generic from some version on
    """A path, or a URL of object storage."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:  # noqa: ARG002
        """Parse an argument; a URL that holds a credential is refused."""
        return place_of(value)


class LocalPathType(click.ParamType):  # type: ignore[type-arg] # as above
    """A path on this machine; a URL is refused."""

    name = "path"

    def __init__(self, otherwise: str) -> None:
        self._otherwise = otherwise

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:  # noqa: ARG002
        """Parse an argument."""
        return local_path(value, self._otherwise)


PLACE = PlaceType()


class Command(click.Command):
    """A command with ``--debug``."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=_debug,
                help="Show where an error arose.",
            )
        )


class Group(click.Group):
    """Commands in the order in which they are defined, whose errors are told and turned into exit codes.

    0: done. 2: the input, the job or the output is refused, or the call is wrong. 130: stopped by Ctrl-C.
    1: a bug of the program.
    """

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names of the commands, in the order of a user's journey."""
        return list(self.commands)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 - this class is what a standalone mode is for
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; ends the process with an exit code."""
        for stream in (sys.stdout, sys.stderr):
            # A terminal that cannot show × or █ shows a question mark; it is no reason to fail.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        extra.setdefault("obj", {"debug": False})
        state = extra["obj"]
        try:
            code = super().main(
                args=args,
                prog_name=prog_name or "allscan",
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except click.ClickException as error:
            error.show()
            sys.exit(EXIT_REFUSED)
        except AllscanError as error:
            if state["debug"]:
                traceback.print_exc()
            click.echo(f"error: {error.for_log() if 'is_log' in state else error}", err=True)
            sys.exit(EXIT_INTERRUPTED if isinstance(error, RunStoppedError) else EXIT_REFUSED)
        except click.Abort:
            click.echo(
                state.get("interrupted", "\nstopped; nothing half-done was left as if it were whole"),
                err=True,
            )
            sys.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            # The reader of the output has gone, as in `allscan check JOB.yaml | head`: nobody listens.
            sys.stderr.close()
            sys.exit(EXIT_REFUSED)
        except OSError as error:
            if error.errno not in SYSTEM_REFUSALS:
                _tell_bug(error, debug=state["debug"], is_log="is_log" in state)
                sys.exit(EXIT_BUG)
            if state["debug"]:
                traceback.print_exc()
            click.echo(f"error: {output_error(error, Path.cwd())}", err=True)
            sys.exit(EXIT_REFUSED)
        except MemoryError as error:
            if state["debug"]:
                traceback.print_exc()
            click.echo(f"error: this machine has too little memory: {error}\n  to do: {_LESS_MEMORY}", err=True)
            sys.exit(EXIT_REFUSED)
        except Exception as error:
            _tell_bug(error, debug=state["debug"], is_log="is_log" in state)
            sys.exit(EXIT_BUG)
        # click returns the code of `ctx.exit(code)`, else what the command returned: nothing, here.
        sys.exit(code or 0)


def _debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().obj["debug"] = True


def _tell_bug(error: Exception, *, debug: bool, is_log: bool) -> None:
    if debug:
        traceback.print_exc()
    place = traceback.extract_tb(error.__traceback__)[-1]
    click.echo(
        f"error: this is a bug in allscan: {type(error).__name__}{'' if is_log else f': {error}'}\n"
        f"  where: {place.filename.rsplit('/', 1)[-1]}:{place.lineno}, in {place.name}\n"
        "  to do: run it again with --debug, and send what it prints to the developers of allscan with the\n"
        "         output of `allscan info --system`",
        err=True,
    )
