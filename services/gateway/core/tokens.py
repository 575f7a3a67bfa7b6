"""Access tokens: signed claims in, a principal out. ES256, RFC 7519."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from joserfc.jwt import JWTClaimsRegistry

from services.gateway.core.access import Principal

ALGORITHMS = ["ES256", "RS256", "PS256", "EdDSA"]
"""What an external issuer may sign with. Never a shared secret, never `none`."""


class BadCredential(ValueError):
    """The token does not prove who asks; the message is for the log, not for the asker."""


def issue(
    key: ECKey, principal: Principal, *, issuer: str, audience: str, now: datetime, token_id: str
) -> str:
    """A token for `principal`, valid until it expires."""
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": principal.subject,
        "name": principal.name,
        "roles": list(principal.roles),
        "department": principal.department,
        "iat": int(now.timestamp()),
        "nbf": int(now.timestamp()),
        "exp": int(principal.expires_at.timestamp()),
        "jti": token_id,
    }
    return jwt.encode({"alg": "ES256", "kid": key.kid, "typ": "JWT"}, claims, key)


def verify(
    token: str, keys: KeySet, *, issuer: str, audience: str, now: datetime, leeway: timedelta
) -> Principal:
    """The principal that `token` proves; raises BadCredential."""
    registry = JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=int(leeway.total_seconds()),
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        sub={"essential": True},
        exp={"essential": True},
    )
    try:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        registry.validate(claims)
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise BadCredential(f"{type(error).__name__}: {error}") from error
    return _principal(claims)


def _principal(claims: dict[str, Any]) -> Principal:
    roles = claims.get("roles") or ()
    if not isinstance(roles, Sequence) or isinstance(roles, str):
        raise BadCredential("`roles` is no list")
    department = claims.get("department")
    return Principal(
        subject=str(claims["sub"]),
        name=str(claims.get("name") or claims["sub"]),
        roles=tuple(str(role) for role in roles),
        department=None if department is None else str(department),
        expires_at=datetime.fromtimestamp(int(claims["exp"]), UTC),
    )
