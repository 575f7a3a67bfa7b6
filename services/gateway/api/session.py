"""Sign-in, and who one is."""

import secrets
from datetime import timedelta
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from pydantic import ValidationError

from services.gateway.api.asking import AtDesk, SignedIn
from services.gateway.api.models.session import Jwks, Me, OpenIdConfiguration, StreamTicket, Token, TokenBody
from services.gateway.api.problems import RESPONSES, Refused
from services.gateway.core.access import Principal
from services.gateway.store import tickets

router = APIRouter(tags=["session"])

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {
                "schema": TokenBody.model_json_schema(),
                "example": {"grant_type": "password", "username": "lena", "password": "…"},
            }
            for kind in ("application/x-www-form-urlencoded", "application/json")
        },
    }
}


async def _credentials(request: Request) -> TokenBody:
    """Name and password from a form or JSON body; at most a few hundred bytes of either."""
    body = await request.body()
    try:
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            fields = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
            return TokenBody.model_validate(
                {name: fields[name] for name in TokenBody.model_fields if name in fields}
            )
        return TokenBody.model_validate_json(body)
    except (ValidationError, UnicodeDecodeError) as error:
        raise Refused(422, "invalid", "give username and password") from error


@router.post("/v1/token", openapi_extra=_BODY, responses={**RESPONSES})
async def sign_in(request: Request, desk: AtDesk) -> Token:
    """Sign in with name and password. Failed attempts are counted by name and by address, and limited."""
    if desk.identity.key is None:
        raise Refused(404, "not_found", "tokens come from the external issuer")
    given = await _credentials(request)
    if given.grant_type != "password":
        raise Refused(422, "invalid", "grant_type must be `password`")
    address = request.client.host if request.client else "?"
    wait = await tickets.attempts_left(desk.redis, desk.settings, given.username, address)
    if wait:
        raise Refused(429, "too_many_attempts", f"again in {wait} s", headers={"retry-after": str(wait)})
    person = await desk.people.check(given.username, given.password)
    if person is None:
        await tickets.count_failure(desk.redis, desk.settings, given.username, address)
        raise Refused(401, "bad_credentials", "no such name and password")
    await tickets.forgive(desk.redis, desk.settings, given.username)
    seconds = desk.settings.token_seconds
    principal = Principal(
        subject=person.subject,
        name=person.name,
        roles=tuple(person.roles),
        department=person.department,
        expires_at=desk.now() + timedelta(seconds=seconds),
    )
    return Token(access_token=desk.identity.issue(principal), token_type="Bearer", expires_in=seconds)


@router.get("/.well-known/jwks.json")
async def keys(desk: AtDesk) -> Jwks:
    """The public keys that the own issuer's tokens are signed with."""
    return Jwks.model_validate(desk.identity.public_keys())


@router.get("/.well-known/openid-configuration")
async def openid_configuration(desk: AtDesk) -> OpenIdConfiguration:
    """The own issuer's metadata."""
    issuer = desk.identity.issuer.rstrip("/")
    return OpenIdConfiguration(
        issuer=desk.identity.issuer,
        jwks_uri=f"{issuer}/.well-known/jwks.json",
        token_endpoint=f"{issuer}/v1/token",
        grant_types_supported=["password"],
        id_token_signing_alg_values_supported=["ES256"],
        response_types_supported=["token"],
        subject_types_supported=["public"],
    )


@router.get("/v1/me", responses={**RESPONSES})
async def who_am_i(asker: SignedIn) -> Me:
    """Name, roles, permissions, and how each class of data is shown."""
    principal = asker.principal
    return Me(
        subject=principal.subject,
        name=principal.name,
        roles=list(principal.roles),
        department=principal.department,
        permissions=sorted(asker.rights.permissions),
        masks=dict(asker.rights.transforms),
        expires_at=principal.expires_at,
    )


@router.post("/v1/stream/tickets", status_code=201, responses={**RESPONSES})
async def stream_ticket(asker: SignedIn) -> StreamTicket:
    """A ticket that opens one WebSocket or SSE stream within half a minute, once."""
    ticket = secrets.token_urlsafe(24)
    await tickets.keep(asker.desk.redis, asker.desk.settings, ticket, asker.principal)
    return StreamTicket(ticket=ticket, expires_in=tickets.TICKET_SECONDS)
