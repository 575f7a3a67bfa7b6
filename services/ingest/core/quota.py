"""A source's quota of events: a token bucket."""

import math

from libs.common.catalog.sources import Quota
from libs.common.errors import QuotaExceeded


class Bucket:
    """Holds `burst` tokens, filled again at so many a second; a token is an event.

    Who brings more events than the burst has to find the bucket full, and leaves it in debt: in the long run no more
    come than the rate allows, however they are packed.
    """

    def __init__(self, quota: Quota, now: float) -> None:
        self.rate, self.burst = quota.events_per_second, float(quota.most)
        self.tokens, self.at = self.burst, now

    def check(self, source: str, events: int, now: float) -> None:
        """QuotaExceeded, saying when to come again, if so many events may not come now. Takes nothing."""
        self.tokens = min(self.burst, self.tokens + max(0.0, now - self.at) * self.rate)
        self.at = now
        lack = min(float(events), self.burst) - self.tokens
        if lack > 0:
            raise QuotaExceeded(
                f"{source} may send {self.rate:g} events a second, {self.burst:g} at once",
                code="quota",
                scope="source",
                retryable=True,
                retry_after=max(1, math.ceil(lack / self.rate)),
            )

    def take(self, source: str, events: int, now: float) -> None:
        """As `check`, and then they have come."""
        self.check(source, events, now)
        self.tokens -= events
