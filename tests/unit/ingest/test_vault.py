"""Tokens stand for texts and give nothing away; what is encrypted under a subject's key is gone with the key."""

import json
import secrets
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given
from hypothesis import strategies as st

from libs.common.catalog import DEFINITION, Source
from libs.common.errors import BadMessage
from services.ingest.core.minimise import PSEUDONYMS, Minimiser, driven
from services.ingest.core.records import Bad, Good, Validator
from services.ingest.core.vault import KEY_BYTES, TOKEN, Entry, Scope, Seal, id_of, named, opened

SECRETS = {"PEOPLE": b"sixteen bytes or more"}
TOKENISE, ENCRYPT = (
    {"kind": "tokenise", "secret": "PEOPLE"},
    {"kind": "encrypt", "secret": "PEOPLE", "subject": "who"},
)
PERSONAL = {"classification": "personal"}
FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string"},
    {"name": "at", "type": "timestamp"},
    {"name": "who", "type": "string", **PERSONAL},
    {"name": "email", "type": "string", "nullable": True, "minimise": TOKENISE},
    {"name": "diet", "type": "string", "nullable": True, "minimise": ENCRYPT},
    {"name": "gate", "type": "int", "nullable": True},
]
RECORD = {
    "id": "1",
    "at": "2026-11-24T10:00:00Z",
    "who": "jane",
    "email": "jane@example.org",
    "diet": "halal",
}


class Drawer(dict[tuple[Scope, str], Entry]):
    """A vault in memory, and the keys in it by id."""

    keys_by_id: dict[str, bytes]

    def __init__(self) -> None:
        super().__init__()
        self.keys_by_id = {}

    def __missing__(self, place: tuple[Scope, str]) -> Entry:
        id = id_of(secrets.token_bytes(16))
        if place[0].kind == "token":
            self[place] = Entry(TOKEN + id)
        else:
            self.keys_by_id[id] = secrets.token_bytes(KEY_BYTES)
            self[place] = Entry(id, AESSIV(self.keys_by_id[id]))
        return self[place]

    def minimised(self, minimiser: Minimiser, *records: Good | Bad) -> list[Good | Bad]:
        found: dict[Scope, dict[str, Entry]] = {}
        for scope, texts in minimiser.texts(records).items():
            found[scope] = {text: self[scope, text] for text in texts}
        for scope, subjects in minimiser.subjects(records, found).items():
            found[scope] = {subject: self[scope, subject] for subject in subjects}
        return minimiser.all(records, found)


def minimiser(**changed: dict[str, Any]) -> Minimiser:
    """`changed`: what else is said of a field."""
    fields = [field | changed.get(field["name"], {}) for field in FIELDS]
    source = DEFINITION.validate_python(
        {
            "kind": "source", "id": "guests", "title": "Guests", "owner": "ops", "event_id": "id", "event_time": "at",
            "key": ["email"], "fields": fields,
        }
    )  # fmt: skip
    assert isinstance(source, Source)
    return Minimiser(Validator(source), SECRETS)


PLAIN = minimiser()


def pushed(drawer: Drawer, record: dict[str, Any], way: Minimiser = PLAIN) -> Good | Bad:
    [found] = drawer.minimised(way, way.validator.single(0, json.dumps(record).encode()))
    return found


def good(drawer: Drawer, record: dict[str, Any], way: Minimiser = PLAIN) -> dict[str, Any]:
    found = pushed(drawer, record, way)
    assert isinstance(found, Good), found.error.reason
    return dict(zip(way.validator.names, found.values, strict=True))


def refused(drawer: Drawer, record: dict[str, Any], way: Minimiser = PLAIN) -> tuple[dict[str, Any], Bad]:
    found = pushed(drawer, record, way)
    assert isinstance(found, Bad)
    return json.loads(found.raw), found


def clear(drawer: Drawer, text: str, place: str = "guests/diet") -> str:
    return opened(drawer.keys_by_id[named(text) or ""], place, text)


def test_the_same_text_has_the_same_token_and_the_key_of_the_event_is_made_of_it() -> None:
    drawer = Drawer()
    one, two = good(drawer, RECORD), good(drawer, RECORD | {"id": "2", "who": "bob"})
    assert one["email"] == two["email"] == named(one["email"])
    assert good(drawer, RECORD | {"email": "bob@example.org"})["email"] != one["email"]
    event = pushed(drawer, RECORD)
    assert isinstance(event, Good)
    assert event.key is not None
    assert event.key.decode() == one["email"]


def test_what_is_encrypted_is_read_with_the_key_of_its_subject_and_no_other() -> None:
    drawer = Drawer()
    jane, bob = good(drawer, RECORD)["diet"], good(drawer, RECORD | {"who": "bob"})["diet"]
    assert (clear(drawer, jane), clear(drawer, bob)) == ("halal", "halal")
    assert jane != bob
    assert good(drawer, RECORD | {"id": "2"})["diet"] == jane
    with pytest.raises(ValueError, match="no text of this field"):
        opened(drawer.keys_by_id[named(bob) or ""], "guests/diet", jane)
    with pytest.raises(ValueError, match="no text of this field"):
        clear(drawer, jane, "guests/name")


def test_null_stays_null_and_needs_no_entry() -> None:
    drawer = Drawer()
    found = good(drawer, RECORD | {"email": None, "diet": None})
    assert (found["email"], found["diet"], drawer) == (None, None, {})


def test_a_subject_that_is_named_by_a_token_has_its_key_under_the_token() -> None:
    drawer, way = Drawer(), minimiser(who={"minimise": TOKENISE})
    found = good(drawer, RECORD, way)
    assert {subject for (scope, subject) in drawer if scope.kind == "key"} == {found["who"]}
    assert clear(drawer, found["diet"]) == "halal"


def test_a_subject_that_is_a_number_is_named_as_it_is_published() -> None:
    drawer, way = Drawer(), minimiser(who={"type": "long"})
    good(drawer, RECORD | {"who": 7}, way)
    kept, _ = refused(drawer, RECORD | {"who": 7, "gate": "x"}, way)
    assert {subject for (scope, subject) in drawer if scope.kind == "key"} == {"7"}
    assert clear(drawer, kept["diet"]) == "halal"


def test_of_a_malformed_record_nothing_is_kept_in_clear() -> None:
    drawer = Drawer()
    kept, letter = refused(drawer, RECORD | {"gate": "jane@example.org"})
    assert kept["gate"] == {"dropped": "text"}
    assert (kept["email"], clear(drawer, kept["diet"])) == (good(drawer, RECORD)["email"], "halal")
    assert letter.headers[PSEUDONYMS] == "email,diet"
    kept, _ = refused(drawer, {name: RECORD[name] for name in ("id", "at", "diet")})
    assert kept["diet"] == {"dropped": "text"}
    kept, _ = refused(drawer, RECORD | {"diet": ["halal"], "email": 5})
    assert (kept["diet"], kept["email"]) == ({"dropped": "list"}, {"dropped": "number"})


def test_what_was_kept_is_driven_again_without_being_changed_twice() -> None:
    drawer = Drawer()
    kept, letter = refused(drawer, RECORD | {"seat": "12A"})
    del kept["seat"]
    again = PLAIN.validator.single(0, json.dumps(kept).encode())
    assert isinstance(again, Good)
    entries = set(drawer)
    [found] = drawer.minimised(PLAIN, driven(again, letter.headers))
    assert isinstance(found, Good)
    assert set(drawer) == entries, "a token has no token"
    assert dict(zip(PLAIN.validator.names, found.values, strict=True)) == good(drawer, RECORD)


def test_what_fails_while_it_is_driven_again_keeps_its_tokens_too() -> None:
    drawer, way = Drawer(), minimiser(who={"minimise": {"kind": "generalise", "network": {}}})
    first = good(drawer, RECORD | {"who": "10.1.2.3"}, way)
    again = way.validator.single(0, json.dumps(first | {"who": "jane"}, default=str).encode())
    assert isinstance(again, Good)
    [found] = drawer.minimised(way, driven(again, {PSEUDONYMS: "email,diet"}))
    assert isinstance(found, Bad)
    kept = json.loads(found.raw)
    assert (kept["email"], kept["diet"], kept["who"]) == (first["email"], first["diet"], {"dropped": "text"})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.just("jane@example.org"),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "jane@example.org"]), inner),
)


@given(st.dictionaries(st.sampled_from(["email", "diet", "gate", "other"]), ANYTHING))
def test_nothing_of_a_token_or_an_encrypted_text_is_kept_of_whatever_comes(record: dict[str, Any]) -> None:
    drawer = Drawer()
    found = pushed(drawer, {"id": "1", "at": RECORD["at"], "who": "w"} | record)
    said: Any = found.values if isinstance(found, Good) else (found.raw, str(found.error))
    assert "example" not in str(said)


def test_what_is_redacted_holds_what_is_not_personal_still() -> None:
    way = minimiser(gate={"type": "string", "scan": "redact"})
    note = "call jane@example.org about seat 12A"
    assert good(Drawer(), RECORD | {"gate": note}, way)["gate"] == "call <email> about seat 12A"
    kept, _ = refused(Drawer(), RECORD | {"gate": note, "seat": note}, way)
    assert (kept["gate"], kept["seat"]) == ("call <email> about seat 12A", {"dropped": "text"})


# --- sealing -------------------------------------------------------------------------------------------------


def test_a_seal_gives_nothing_away_and_is_bound_to_its_place() -> None:
    seal, other = Seal(SECRETS["PEOPLE"]), Seal(b"another secret, as long")
    sealed = seal.seal("token:PEOPLE", "tok_a", b"jane")
    assert b"jane" not in sealed
    assert seal.unseal("token:PEOPLE", "tok_a", sealed) == b"jane"
    for wrong in (
        lambda: seal.unseal("token:PEOPLE", "tok_b", sealed),
        lambda: other.unseal("token:PEOPLE", "tok_a", sealed),
        lambda: seal.unseal("token:PEOPLE", "tok_a", sealed[:-1]),
    ):
        with pytest.raises(ValueError, match="another secret, or altered"):
            wrong()


def test_entries_are_found_by_digests_that_differ_by_scope_and_secret() -> None:
    seal = Seal(SECRETS["PEOPLE"])
    scopes = [Scope("token", "PEOPLE", "PEOPLE"), Scope("key", "guests/who", "PEOPLE")]
    digests = {
        each.digest(scope, "jane") for scope in scopes for each in (seal, Seal(b"another secret, as long"))
    }
    assert len(digests) == 4
    assert seal.digest(scopes[0], "jane") == Seal(SECRETS["PEOPLE"]).digest(scopes[0], "jane")


@pytest.mark.parametrize(
    "text", ["", "tok_", "tok_short", "enc_", "jane", "enc_x.y", f"enc_{'a' * 22}", f"tok_{'a' * 21}\0"]
)
def test_what_is_no_token_or_encrypted_text_names_no_entry(text: str) -> None:
    assert named(text) is None


def test_a_source_says_which_secret_of_the_vault_it_lacks() -> None:
    assert Minimiser(PLAIN.validator, {}).lacks == ["PEOPLE"]
    error = BadMessage("x")
    assert Minimiser(PLAIN.validator, {}).texts([Bad(0, error, b"{}")]) == {}
