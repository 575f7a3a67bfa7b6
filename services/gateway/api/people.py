"""The demonstration's own people: a file of names and argon2 hashes."""

import asyncio
import json
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import BaseModel, ConfigDict, TypeAdapter


class Person(BaseModel):
    """One line of the people file; further fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    subject: str
    name: str
    password_hash: str
    roles: list[str]
    department: str | None = None


_PEOPLE = TypeAdapter(list[Person])


class People:
    """Checks passwords. The file is read at each sign-in, so that a change needs no restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hasher = PasswordHasher()
        self._nobody = self._hasher.hash("nobody")
        # Argon2 takes 64 MiB and a core for each guess: no more than two at a time.
        self._turns = asyncio.Semaphore(2)

    async def check(self, username: str, password: str) -> Person | None:
        """The person whose name and password these are. As slow for an unknown name as for a known one."""
        async with self._turns:
            return await asyncio.to_thread(self._check, username, password)

    def _check(self, username: str, password: str) -> Person | None:
        person = next((person for person in self._read() if person.subject == username), None)
        try:
            self._hasher.verify(person.password_hash if person else self._nobody, password)
        except (VerificationError, InvalidHashError):
            return None
        return person

    def _read(self) -> list[Person]:
        if not self._path.exists():
            return []
        return _PEOPLE.validate_python(json.loads(self._path.read_text()))
