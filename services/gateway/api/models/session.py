"""Sign-in."""

from datetime import datetime

from services.gateway.api.models.common import Answer, example


class TokenBody(Answer):
    """The password grant of the demonstration's own issuer."""

    grant_type: str = "password"
    username: str
    password: str

    model_config = example(grant_type="password", username="lena", password="…")


class Token(Answer):
    access_token: str
    """A JWT (ES256): send it as `Authorization: Bearer …`, never in an address."""
    token_type: str
    expires_in: int
    """Seconds."""

    model_config = example(access_token="eyJhbGciOiJFUzI1NiJ9.…", token_type="Bearer", expires_in=3600)


class Me(Answer):
    """Who is asking, and what they may do."""

    subject: str
    name: str
    roles: list[str]
    department: str | None
    permissions: list[str]
    masks: dict[str, str]
    """Class of data → how it is shown: clear, pseudonym or redact."""
    expires_at: datetime

    model_config = example(
        subject="lena", name="Lena Brandt", roles=["leader"], department="operations",
        permissions=["acknowledge", "decide", "read"],
        masks={"public": "clear", "internal": "clear", "confidential": "clear", "personal": "redact"},
        expires_at="2026-11-24T11:00:00Z",
    )  # fmt: skip


class StreamTicket(Answer):
    """A ticket that opens one stream once, for clients that cannot send a header."""

    ticket: str
    expires_in: int
    """Seconds."""

    model_config = example(ticket="k3v…", expires_in=30)


class Jwks(Answer):
    keys: list[dict[str, str]]

    model_config = example(keys=[{"kty": "EC", "crv": "P-256", "kid": "a1", "x": "…", "y": "…"}])


class OpenIdConfiguration(Answer):
    issuer: str
    jwks_uri: str
    token_endpoint: str
    grant_types_supported: list[str]
    id_token_signing_alg_values_supported: list[str]
    response_types_supported: list[str]
    subject_types_supported: list[str]

    model_config = example(
        issuer="http://127.0.0.1:8080", jwks_uri="http://127.0.0.1:8080/.well-known/jwks.json",
        token_endpoint="http://127.0.0.1:8080/v1/token", grant_types_supported=["password"],
        id_token_signing_alg_values_supported=["ES256"], response_types_supported=["token"],
        subject_types_supported=["public"],
    )  # fmt: skip
