"""Groups of commands that import a command's module when the command is wanted, and not before."""

from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Lazy(NamedTuple):
    """A command that is not imported yet.

    Attributes
    ----------
    name
        The word a user types.
    place
        Module below `gis_grid.cli` and function, `reports:load`.
    summary
        First paragraph of the function's docstring, so that a list of commands need not import them.
    takes_negatives
        Whether an argument may begin with a minus, as a western longitude does, and is no option then.
    """

    name: str
    place: str
    summary: str
    takes_negatives: bool = False

    def load(self) -> typer.core.TyperCommand:
        """The command itself; imports its module."""
        module, function = self.place.split(":")
        single = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        settings = {"ignore_unknown_options": True} if self.takes_negatives else None
        single.command(self.name, context_settings=settings)(getattr(import_module(f"gis_grid.cli.{module}"), function))
        command = typer.main.get_command(single)
        assert isinstance(command, TyperCommand)  # noqa: S101 - a Typer of one command is that command
        return command


class LazyGroup(TyperGroup):
    """A group whose help is listed from `table`; a command's module is imported once that command is asked for."""

    table: ClassVar[dict[str, Lazy]] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        listed = {name: TyperCommand(name, help=lazy.summary) for name, lazy in self.table.items()}
        self.commands = {**listed, **self.commands}
        self._is_listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, imported unless it is only to be listed."""
        if self._is_listing or cmd_name not in self.table:
            return super().get_command(ctx, cmd_name)
        return self.table[cmd_name].load()

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help of the group."""
        self._is_listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._is_listing = False


def group_of(*commands: Lazy) -> type[LazyGroup]:
    """The class of a group with these commands, for `typer.Typer(cls=...)`."""

    class Group(LazyGroup):
        table: ClassVar[dict[str, Lazy]] = {command.name: command for command in commands}

    return Group
