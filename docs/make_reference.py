"""Write the reference pages that come from the code: commands and Python calls.

Usage: python docs/make_reference.py. A test fails where a committed page is not what this writes.
(The page of the job file is written by `allscan schema --format markdown`.)
"""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import allscan
from allscan import errors
from allscan.engine.results import ResultsCube
from allscan.engine.simulation.options import SimulationOptions
from allscan.engine.store import GenotypeStore, VariantTable
from allscan.jobs.cli import main as command_line
from allscan.jobs.run import Run
from allscan.jobs.structure.folder import StructureFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = Path(__file__).parent / "reference"
MADE = "<!-- Made by docs/make_reference.py: change the code, not this page. -->"
INSTANCES = {
    "GenotypeStore": "store",
    "Job": "job",
    "ResultsCube": "cube",
    "Run": "run",
    "StructureFolder": "structure",
    "VariantTable": "table",
}
LINE = 88


def commands_page() -> str:
    """Every command with its usage and options."""
    lines = [
        "# Command line",
        "",
        MADE,
        "",
        "What was done goes to standard output, progress and errors to standard error. Exit codes: 0 done; 2 refused,",
        "with a message that says what, where and what to do; 130 stopped by Ctrl-C; 1 a bug. `--debug`, after any",
        "command, shows where an error arose; `--help` shows what stands here.",
    ]
    for name, command in _commands(command_line, ""):
        context = click.Context(command, info_name=name)
        parameters = command.get_params(context)
        arguments = [str(p.metavar) for p in parameters if isinstance(p, click.Argument)]
        lines += ["", f"## {name}", "", "```text", " ".join(["allscan", name, *arguments, "[OPTIONS]"]), "```", ""]
        lines += inspect.cleandoc(command.help or "").splitlines()
        options = [p for p in parameters if isinstance(p, click.Option) and not {"--help", "--debug"} & {*p.opts}]
        rows = [f"| `{_cell(_flag(option))}` | {_cell(_meaning(option))} |" for option in options]
        if rows:
            lines += ["", "| option | meaning |", "|---|---|"]
            lines += rows
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, before: str) -> Iterator[tuple[str, click.Command]]:
    """Every command, those of groups with the group's name before their own."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def python_page() -> str:
    """Public calls, with the objects that they return."""
    lines = ["# Python", "", MADE, "", "See [From Python](../guide/python.md) for how they go together.", ""]
    lines += ["## Functions of `allscan`", ""]
    for name in allscan.__all__:
        value = getattr(allscan, name)
        if inspect.isfunction(value):
            lines += [*_function(f"allscan.{name}", value), ""]
    lines += ["`allscan.__version__` is the version of the installed package.", ""]
    lines += _class("allscan.Job", allscan.Job)
    lines += _class("Run", Run)
    lines += _class("GenotypeStore", GenotypeStore)
    lines += _class("VariantTable", VariantTable)
    lines += _class("ResultsCube", ResultsCube)
    lines += _class("StructureFolder", StructureFolder)
    lines += ["## SimulationOptions", "", "Fields of `allscan.engine.simulation.options.SimulationOptions`.", ""]
    lines += ["| field | default | meaning |", "|---|---|---|"]
    for field in fields(SimulationOptions):
        default = field.default_factory() if callable(field.default_factory) else field.default
        lines.append(f"| `{field.name}` | `{_cell(repr(default))}` | {_cell(str(field.metadata['help']))} |")
    lines += ["", "## Errors", "", "In `allscan.errors`; each has `what`, `where` and `fix`.", ""]
    lines += ["| error | also | meaning |", "|---|---|---|"]
    for value in vars(errors).values():
        if inspect.isclass(value) and issubclass(value, errors.AllscanError):
            parents = ", ".join(f"`{base.__name__}`" for base in value.__bases__)
            lines.append(f"| `{value.__name__}` | {parents} | {_summary(value)} |")
    return "\n".join(lines) + "\n"


def _flag(option: click.Option) -> str:
    if option.is_flag:
        value = ""
    elif isinstance(option.type, click.Choice):
        value = "|".join(map(str, option.type.choices))
    else:
        value = option.metavar or ("TEXT" if option.type is click.STRING else "N")
    return f"{option.opts[0]} {value}".strip()


def _meaning(option: click.Option) -> str:
    shown = option.show_default if isinstance(option.show_default, str) else option.default
    told = option.help or ""
    return f"{told} Default: {shown}." if option.show_default and shown is not None else told


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _summary(value: Any) -> str:
    return (inspect.getdoc(value) or "").partition("\n")[0]


def _class(name: str, cls: type) -> list[str]:
    lines = [f"## {name}", "", *_markdown(inspect.getdoc(cls) or ""), ""]
    attributes = []
    members = {name: value for base in reversed(_own(cls)) for name, value in vars(base).items()}
    for member, value in members.items():
        if member.startswith("_"):
            continue
        if isinstance(value, classmethod):
            lines += [*_function(f"{cls.__name__}.{member}", getattr(cls, member)), ""]
        elif inspect.isfunction(value):
            lines += [*_function(f"{INSTANCES[cls.__name__]}.{member}", value), ""]
        elif isinstance(value, property) or type(value).__name__ == "cached_property":
            attributes.append(f"| `{member}` | {_markdown(_summary(value))[0]} |")
    if attributes:
        lines += ["| attribute | meaning |", "|---|---|", *attributes, ""]
    return lines


def _own(cls: type) -> list[type]:
    """A class and those of the package that it inherits from."""
    return [base for base in cls.__mro__ if base.__module__.startswith("allscan.")]


def _function(name: str, function: Any) -> list[str]:
    signature = inspect.signature(function)
    parts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        if parameter.name != "self":
            default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
            star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
            parts.append(f"{star}{parameter.name}: {parameter.annotation}{default}")
    result = signature.return_annotation
    shown = f"{name}({', '.join(parts)}) -> {result}"
    if len(shown) > LINE:
        shown = "\n".join([f"{name}(", *(f"    {part}," for part in parts), f") -> {result}"])
    return [f"### {name}", "", "```python", shown, "```", "", *_markdown(inspect.getdoc(function) or "")]


def _markdown(docstring: str) -> list[str]:
    """A NumPy-style docstring as Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", lambda match: f"`{match[1].rpartition('.')[2]}`", docstring)
    text = text.replace("``", "`")
    head, *sections = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    lines = head.strip().splitlines()
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        if title == "Examples":
            code = re.sub(r"^(>>>|\.\.\.) |\s*# doctest:.*$", "", body.strip(), flags=re.MULTILINE)
            lines += ["", "```python", code, "```"]
        else:
            lines += ["", f"**{title}**", "", *_definitions(body)]
    return lines


def _definitions(body: str) -> list[str]:
    """Names and their meanings, in the syntax of the Markdown extension `def_list`; prose as it is."""
    if not re.search(r"^ +\S", body, flags=re.MULTILINE):
        return body.strip().splitlines()
    lines: list[str] = []
    mark = ":"
    for line in body.strip("\n").splitlines():
        if line and not line.startswith(" "):
            lines += ["", f"`{line}`"]
            mark = ":"
        else:
            lines.append(f"{mark:<4}{line.strip()}".rstrip())
            mark = ""
    return lines[1:]


def pages() -> dict[Path, str]:
    """Every page that comes from the code."""
    return {REFERENCE / "commands.md": commands_page(), REFERENCE / "python.md": python_page()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
