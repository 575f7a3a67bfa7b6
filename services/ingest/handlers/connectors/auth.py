"""Secrets by name, and how an endpoint is told who asks."""

from collections.abc import AsyncGenerator, Mapping
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from libs.common import clock
from libs.common.catalog.pulls import Authentication, BearerToken, ClientCredentials, HeaderKey
from services.ingest.core.answers import Unreadable

EARLY = 30.0
"""Seconds before its end at which a token is fetched anew."""


Secrets = Mapping[str, SecretStr]
"""By name, as ingest's environment has them."""


def secret(secrets: Secrets, name: str) -> str:
    """Unreadable if it is not there."""
    found = secrets.get(name)
    if found is None or not found.get_secret_value():
        raise Unreadable(f"there is no secret {name}: ingest's environment lacks SEXTANT_SECRET_{name}")
    return found.get_secret_value()


class Credentials(httpx.Auth):
    """Of one pull; keeps its token."""

    def __init__(self, how: Authentication | None, secrets: Secrets) -> None:
        self.how, self.secrets = how, secrets
        self.token, self.until = "", 0.0

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        match self.how:
            case None:
                yield request
            case HeaderKey():
                request.headers[self.how.header] = secret(self.secrets, self.how.secret)
                yield request
            case BearerToken():
                request.headers["Authorization"] = f"Bearer {secret(self.secrets, self.how.secret)}"
                yield request
            case ClientCredentials():
                if clock.monotonic() >= self.until:
                    await self._keep((yield self._order(self.how)))
                request.headers["Authorization"] = f"Bearer {self.token}"
                if (yield request).status_code == 401:  # revoked before its time
                    await self._keep((yield self._order(self.how)))
                    request.headers["Authorization"] = f"Bearer {self.token}"
                    yield request

    def _order(self, how: ClientCredentials) -> httpx.Request:
        form = {"grant_type": "client_credentials", **({"scope": how.scope} if how.scope else {})}
        basic = httpx.BasicAuth(
            quote(how.client_id, safe=""), quote(secret(self.secrets, how.secret), safe="")
        )
        return next(basic.auth_flow(httpx.Request("POST", how.token_url, data=form)))

    async def _keep(self, response: httpx.Response) -> None:
        self.until = 0.0
        await response.aread()
        response.raise_for_status()
        try:
            answer = response.json()
            self.token = str(answer["access_token"])
            lasts = float(answer.get("expires_in", 300))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unreadable(f"{response.url} answered without an access_token") from error
        self.until = clock.monotonic() + max(0.0, lasts - EARLY)
