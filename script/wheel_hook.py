"""Refuses to build a wheel whose maps could not be drawn."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):
    """Hatch calls this before it builds."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  Hatch's signature
        """Stop unless the browser assets are there; an editable install comes before them."""
        if version != "editable" and not any(Path(self.root, "maps", "vendor").glob("*")):
            raise FileNotFoundError("maps/vendor is missing: run script/bootstrap before building the package")
