"""Grid codes: what they look like, and the codes of the areas they begin with.

The standard code is 15 digits: 6 district (GB/T 2260), 3 town (GB/T 10114), 3 community, 3 sequence. Cities differ, so
the pattern is a setting: a regular expression whose named groups say where the levels end.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from gis_grid.errors import InvalidInput

STANDARD_PATTERN = r"(?P<district>\d{6})(?P<town>\d{3})(?P<community>\d{3})(?P<sequence>\d{3})"

_LEVELS = ("district", "town", "community", "sequence")


class MalformedGridCode(InvalidInput):
    """A grid code that does not follow the city's pattern."""


class InvalidCodePattern(InvalidInput):
    """A code pattern that is no regular expression or whose groups do not make up the code."""


@dataclass(frozen=True)
class GridCode:
    """The parts of a grid code, as text; None for a level the pattern does not name."""

    district: str | None
    town: str | None
    community: str | None
    sequence: str | None


@dataclass(frozen=True)
class CodePattern:
    r"""How a city writes its grid codes.

    Attributes
    ----------
    regex
        Matched against the whole code; digits are ASCII only. Named groups `district`, `town`, `community`, `sequence`
        are optional, in that order and without anything between them. Without any group (`\d{4}`) the whole code is
        the sequence.

    Raises
    ------
    InvalidCodePattern
        No regular expression, a group of another name, or groups out of order.
    """

    regex: str = STANDARD_PATTERN

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.regex, re.ASCII).groupindex
        except re.error as error:
            raise InvalidCodePattern(f"code pattern {self.regex!r}: {error}") from None
        if list(groups) != [level for level in _LEVELS if level in groups]:
            raise InvalidCodePattern(
                f"code pattern {self.regex!r}: groups {list(groups)}; expected some of {list(_LEVELS)}, in order"
            )

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.regex, re.ASCII)

    def matches(self, code: object) -> bool:
        """Whether `code` is text that follows the pattern."""
        return self._match(code) is not None

    def parse(self, code: str) -> GridCode:
        """Parts of a code; `format` puts them together again.

        Raises
        ------
        MalformedGridCode
            It does not follow the pattern.
        InvalidCodePattern
            The pattern's groups leave out some of the code.
        """
        match = self._require(code)
        groups = match.groupdict() or {"sequence": code}
        if "".join(part or "" for part in groups.values()) != code:
            raise InvalidCodePattern(f"code pattern {self.regex!r}: its groups are not the whole of {code!r}")
        return GridCode(**{level: groups.get(level) for level in _LEVELS})

    def format(self, parts: GridCode) -> str:
        """Code of the parts.

        Raises
        ------
        MalformedGridCode
            They make a code that does not follow the pattern.
        """
        code = "".join(part for level in _LEVELS if (part := getattr(parts, level)) is not None)
        if self.parse(code) != parts:
            raise MalformedGridCode(f"{parts}: not the parts of {code!r} in {self.regex!r}")
        return code

    def district_code_of(self, code: str) -> str | None:
        """Code of the grid's district: the code up to that level (6 digits by default); None without that level."""
        return self._up_to("district", code)

    def town_code_of(self, code: str) -> str | None:
        """Code of the grid's town: the code up to that level (9 digits by default); None without that level."""
        return self._up_to("town", code)

    def community_code_of(self, code: str) -> str | None:
        """Code of the grid's community: the code up to that level (12 digits by default); None without that level."""
        return self._up_to("community", code)

    def _up_to(self, level: str, code: str) -> str | None:
        match = self._require(code)
        end = match.end(level) if level in match.re.groupindex else -1
        return code[:end] if end >= 0 else None

    def _match(self, code: object) -> re.Match[str] | None:
        return self._compiled.fullmatch(code) if isinstance(code, str) else None

    def _require(self, code: str) -> re.Match[str]:
        if (match := self._match(code)) is None:
            raise MalformedGridCode(f"grid code {code!r:.60}: expected {self.regex}")
        return match
