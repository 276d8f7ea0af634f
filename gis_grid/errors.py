"""The error tree: what can go wrong, in words a user can act on.

A message says what is wrong, with which thing, and what was expected. HTTP and exit codes are chosen at the edges.
"""


class GridError(Exception):
    """Something this program can explain; the message is for the user."""


class NotFound(GridError):
    """The named thing does not exist."""


class InvalidInput(GridError):
    """The input cannot be used; the message names the field and what was expected.

    Parameters
    ----------
    fields
        Names of the fields at fault, for whoever shows the message beside them.
    """

    def __init__(self, message: str, *, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.fields = fields


class Conflict(GridError):
    """The input is well formed but contradicts what is stored."""


class Forbidden(GridError):
    """The caller may not do this."""


class Unavailable(GridError):
    """Something the program needs is missing: a database, a browser asset, a system package."""
