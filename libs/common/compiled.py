"""What definitions were compiled to: one changes, and hundreds stay as they are."""

import logging
from collections.abc import Callable
from operator import is_
from typing import Any, TypeVar

from libs.common.errors import DefinitionError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Compiled:
    """By name: of which definitions, and what, compiled or the DefinitionError."""

    def __init__(self) -> None:
        self.former: dict[str, tuple[tuple[object, ...], Any]] = {}
        self.made: dict[str, tuple[tuple[object, ...], Any]] = {}

    def anew(self) -> None:
        """All that is asked for comes now; what is not asked for until the next time is forgotten."""
        self.former, self.made = self.made, {}

    def of(self, name: str, parts: tuple[object, ...], make: Callable[[], T]) -> T | DefinitionError:
        """What was made of just these definitions, the very same objects, or is now. If they cannot be compiled that is
        said once, and the error is what they are compiled to."""
        known = self.former.get(name)
        if known is not None and len(known[0]) == len(parts) and all(map(is_, known[0], parts)):
            self.made[name] = known
            return known[1]
        try:
            found: T | DefinitionError = make()
        except DefinitionError as error:
            log.error("a definition does not compile", extra={"fields": {"name": name, "error": str(error)}})
            found = error
        self.made[name] = parts, found
        return found
