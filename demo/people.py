"""The demonstration's people: four sign-ins and the operator's account, with random passwords, made once."""

import json
import secrets
from pathlib import Path

from argon2 import PasswordHasher

PEOPLE = (
    ("lena", "Lena Ortiz", ("leader",), "operations"),
    ("ana", "Ana Weber", ("analyst",), "operations"),
    ("stew", "Stew Kumar", ("steward",), "governance"),
    ("vic", "Vic Moreau", ("viewer",), "public affairs"),
    ("operator", "The demonstration itself", ("operator",), "operations"),
)


def ensure(home: Path) -> dict[str, str]:
    """The passwords by name; makes people.json (argon2 hashes) and passwords.json where they are missing."""
    passwords = home / "passwords.json"
    people = home / "keys" / "people.json"
    if passwords.exists() and people.exists():
        return json.loads(passwords.read_text())
    found = {name: secrets.token_urlsafe(9) for name, *_ in PEOPLE}
    hasher = PasswordHasher()
    listed = [
        {
            "subject": name,
            "name": full,
            "password_hash": hasher.hash(found[name]),
            "roles": list(roles),
            "department": department,
        }
        for name, full, roles, department in PEOPLE
    ]
    for file, content in ((people, listed), (passwords, found)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(json.dumps(content, indent=1))
    return found
