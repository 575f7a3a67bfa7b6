"""Signed deliveries by Standard Webhooks (standard-webhooks/standard-webhooks, spec 1.0): `webhook-id`,
`webhook-timestamp` and `webhook-signature` over the bytes of the body as they were before any content coding."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

from libs.common.errors import Unauthorised

HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
TOLERANCE_SECONDS = 300
_MOST = 256
"""Characters of an id."""


class Unsigned(Unauthorised):
    title = "The delivery is not signed as agreed"


def key_of(secret: str) -> bytes:
    """The key of a secret as it is handed out: `whsec_`, then base64. ValueError if it is none."""
    text = secret.removeprefix("whsec_")
    key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if not key:
        raise ValueError("the secret of a webhook is empty")
    return key


def stated(headers: Mapping[str, str]) -> tuple[str, str, str]:
    """What the headers say; Unsigned if one is missing. The body need not be there yet."""
    for name in HEADERS:
        if not headers.get(name):
            raise Unsigned(f"{name}: the header is required", code="webhook_unsigned", field=name)
    id, stamp, signatures = (headers[name] for name in HEADERS)
    if len(id) > _MOST:
        rule = f"at most {_MOST} characters"
        raise Unsigned("webhook-id: too long", code="webhook_unsigned", field="webhook-id", rule=rule)
    return id, stamp, signatures


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """The id of the delivery; Unsigned says what is wrong with it. Any of the keys will do, in any of the signatures."""
    id, stamp, signatures = stated(headers)
    signed = f"{id}.{stamp}.".encode() + body
    given = [text.removeprefix("v1,").encode() for text in signatures.split(" ") if text.startswith("v1,")]
    wanted = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys]
    matches = [hmac.compare_digest(one, other) for one in given for other in wanted]
    if not any(matches):
        raise Unsigned(
            "no v1 signature of the body, the id and the timestamp is by a secret of this source",
            code="webhook_wrong_signature",
            field="webhook-signature",
        )
    seconds = int(stamp) if stamp.isascii() and stamp.isdigit() and len(stamp) < 16 else None
    if seconds is None or abs(now.timestamp() - seconds) > TOLERANCE_SECONDS:
        raise Unsigned(
            f"the delivery was signed more than {TOLERANCE_SECONDS} s ago, or ahead: sign it anew",
            code="webhook_stale",
            field="webhook-timestamp",
            value=stamp[:100],
            rule=f"within {TOLERANCE_SECONDS} s",
        )
    return id


def keys_of(secrets: str) -> list[bytes]:
    """The keys of one or, while it is changed, several secrets with spaces between. ValueError if one is none."""
    try:
        return [key_of(secret) for secret in secrets.split()]
    except (ValueError, binascii.Error) as error:
        raise ValueError(
            f"a secret of a webhook is base64, with or without whsec_ before it: {error}"
        ) from error


def replayed(id: str) -> Unsigned:
    return Unsigned(
        f"the webhook-id {id} was that of another body: a delivery that is repeated keeps its body",
        code="webhook_replayed",
        field="webhook-id",
        value=id,
    )
