"""The `orchard` command: it finds verbs as entry points and prints errors with hints and exit codes."""

from __future__ import annotations

import difflib
import json
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points

import click

from orchard import __version__, disk, home
from orchard.cli.verb import GROUPS, group_of
from orchard.errors import MissingExtra, OrchardError, install_hint
from orchard.reporter import wants_colour

__all__ = ["main", "registered_verb"]

GROUP = "orchard.verbs"


def registered_verb(name: str) -> click.Command:
    """Return the verb of a name, whichever program has it: programs do not import each other.

    Raises:
        LookupError: no installed program registers it.
    """
    for point in entry_points(group=GROUP, name=name):
        return _load(point)
    raise LookupError(f"no installed program has the verb {name}")


def _load(point: EntryPoint) -> click.Command:
    command = point.load()
    if not isinstance(command, click.Command):
        raise TypeError(f"entry point {point.name} is a {type(command).__name__}, not a click.Command")
    return command


class Verbs(click.Group):
    """The verbs that the installed programs register under the entry point group `orchard.verbs`."""

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the name of every verb."""
        return sorted(self._entry_points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and return its command."""
        point = self._entry_points().get(cmd_name)
        return None if point is None else _load(point)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs in their groups; those of other distributions that name none come last."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        shown = {name: command for name, command in commands.items() if command is not None and not command.hidden}
        width = max(map(len, shown), default=0)
        for group in (*GROUPS, None):
            rows = [
                (name.ljust(width), command.get_short_help_str(formatter.width - width - 6))
                for name, command in shown.items()
                if group_of(command) == group
            ]
            if rows:
                with formatter.section(group or "Others"):
                    formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; the error for an unknown one names the nearest verbs."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=3)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean {' or '.join(near)}?", ctx) from error


@click.command(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=(
        "\b\nExit codes:\n"
        "  0 done · 1 failed · 2 wrong command line · 3 settings or params.yaml · 4 data refused · 5 gate refused\n"
        "  6 object store · 7 conflict with another program · 8 invalid bytes or signature · 9 model server · 10 extra missing\n"
        "  11 webhook receiver · 130 interrupted\n\n"
        "\b\nShell completion:\n"
        '  eval "$(_ORCHARD_COMPLETE=bash_source orchard)"     (also zsh_source, fish_source)'
    ),
)
@click.version_option(__version__, prog_name="orchard")
def orchard() -> None:
    """From Keras to production: train, publish and serve a model of photos.

    Every verb reads its settings from ORCHARD_* in the environment or in .env (see `orchard settings`), prints one result
    on stdout and everything else on stderr, and has the option --json.
    """


def _print_json(kind: str, message: str, hint: str, exit_code: int, code: str = "") -> None:
    error = {"kind": kind, "message": message, "hint": hint, "exit_code": exit_code, **({"code": code} if code else {})}
    document = {"error": error}
    print(json.dumps(document, ensure_ascii=False), flush=True)


def _report(error: OrchardError, *, as_json: bool) -> int:
    if as_json:
        with suppress(OSError):  # stdout may be a file on the full disk
            _print_json(error.kind, error.message, error.hint, error.exit_code, error.code)
            return error.exit_code
    colour = wants_colour(sys.stderr)
    click.echo(click.style("error: ", fg="red", bold=True) + error.message, err=True, color=colour)
    if error.hint:
        click.echo(click.style("  fix: ", fg="yellow") + error.hint, err=True, color=colour)
    return error.exit_code


def _report_usage(error: click.ClickException, *, as_json: bool) -> int:
    if as_json:
        context = getattr(error, "ctx", None)
        hint = f"`{context.command_path} --help` lists the arguments and options" if context else ""
        _print_json("UsageError", error.format_message(), hint, error.exit_code)
    else:
        error.show()
    return error.exit_code


def _missing(error: ModuleNotFoundError, args: list[str]) -> MissingExtra:
    verb = args[0] if args else "orchard"
    point = next(iter(entry_points(group=GROUP, name=verb)), None)
    extra = getattr(point.load(), "extra", None) if point else None
    return MissingExtra(
        f"`orchard {verb}` needs the Python package {error.name!r}, which is not installed",
        hint=install_hint(extra or "training"),
    )


def main(args: list[str] | None = None, command: click.Command | None = None) -> int:
    """Run the command line; return the exit code (as a script: end the process with it).

    Args:
        args: the arguments; None: the process's.
        command: None: `orchard`; another command gets the same error messages and exit codes.
    """
    arguments = sys.argv[1:] if args is None else args
    as_json = "--json" in arguments
    home.replace_unusable()
    try:
        code = (command or orchard).main(args=arguments, standalone_mode=False) or 0
    except OrchardError as error:
        code = _report(error, as_json=as_json)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in {"orchard", "training", "serving", "orchestration"}:
            raise
        code = _report(_missing(error, arguments), as_json=as_json)
    except click.ClickException as error:
        code = _report_usage(error, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    except Exception as error:
        problem = disk.explain(error)
        if problem is None:
            raise
        code = _report(problem, as_json=as_json)
    if args is None:
        sys.exit(code)
    return code
