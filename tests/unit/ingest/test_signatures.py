"""A delivery is let in if one of the source's secrets signed it within five minutes, or is refused for a reason."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from services.ingest.core.signatures import Unsigned, keys_of, verify

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
SECRET, FORMER = "whsec_" + base64.b64encode(b"k" * 32).decode(), base64.b64encode(b"former" * 5).decode()
KEYS = keys_of(f"{SECRET} {FORMER}")
BODY = b'{"id": "1"}'


def signed(*secrets: str, at: datetime = NOW, id: str = "msg_1") -> dict[str, str]:
    """The headers that the library of the specification makes."""
    signatures = " ".join(Webhook(secret).sign(id, at, BODY.decode()) for secret in secrets)
    stamp = str(int(at.timestamp()))
    return {"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": signatures}


OTHER = base64.b64encode(b"other" * 6).decode()
GOOD = signed(SECRET)


@pytest.mark.parametrize(
    "headers",
    [
        GOOD,
        signed(FORMER),
        signed(OTHER, SECRET),
        signed(SECRET, at=NOW - timedelta(minutes=5)),
        signed(SECRET, at=NOW + timedelta(minutes=5)),
        {**GOOD, "webhook-signature": f"v1a,asymmetric v1,!!! v2,x {GOOD['webhook-signature']}"},
    ],
    ids=["signed", "former secret", "second signature", "old", "ahead", "other kinds"],
)
def test_a_delivery_that_one_of_the_secrets_signed_is_let_in(headers: dict[str, str]) -> None:
    assert verify(KEYS, headers, BODY, NOW) == "msg_1"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "webhook_unsigned"),
        ({**GOOD, "webhook-signature": ""}, "webhook_unsigned"),
        ({**GOOD, "webhook-id": "x" * 1_000}, "webhook_unsigned"),
        (signed(OTHER), "webhook_wrong_signature"),
        ({**GOOD, "webhook-id": "msg_2"}, "webhook_wrong_signature"),
        ({**GOOD, "webhook-timestamp": "1"}, "webhook_wrong_signature"),
        ({**GOOD, "webhook-signature": "v1,ünrat"}, "webhook_wrong_signature"),
        (
            {**GOOD, "webhook-signature": GOOD["webhook-signature"].removeprefix("v1,")},
            "webhook_wrong_signature",
        ),
        (signed(SECRET, at=NOW - timedelta(minutes=5, seconds=1)), "webhook_stale"),
        (signed(SECRET, at=NOW + timedelta(minutes=5, seconds=1)), "webhook_stale"),
    ],
)
def test_any_other_is_refused_with_the_code_of_its_reason(headers: dict[str, str], code: str) -> None:
    with pytest.raises(Unsigned) as caught:
        verify(KEYS, headers, BODY, NOW)
    assert (caught.value.status, caught.value.code) == (401, code)


def test_another_body_is_not_signed_by_the_same_signature() -> None:
    with pytest.raises(Unsigned, match="no v1 signature"):
        verify(KEYS, GOOD, BODY + b" ", NOW)


@pytest.mark.parametrize("secret", ["whsec_", "not base64!", "whsec_ü"])
def test_a_secret_that_is_none_is_said(secret: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        keys_of(secret)


@given(st.text(max_size=50), st.text(max_size=50), st.text(max_size=50), st.binary(max_size=50))
def test_nothing_else_is_let_in_and_nothing_raises(id: str, stamp: str, signature: str, body: bytes) -> None:
    headers = {"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": signature}
    with pytest.raises(Unsigned):
        verify(KEYS, headers, body, NOW)
