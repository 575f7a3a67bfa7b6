"""Why a writer takes nothing just now: each is to be tried again."""

from libs.common.errors import Overloaded, Problem


def absent(source: str) -> Overloaded:
    why = f"the writer of {source} is starting, or stopping"
    return Overloaded(why, retry_after=1, scope="source", retryable=True)


def changing(source: str) -> Overloaded:
    why = f"partitions are added to {source}: what was published before is read first, so that each key keeps its order"
    return Overloaded(why, code="repartitioning", retry_after=2, scope="source", retryable=True)


def unconfirmed(when: str) -> Overloaded:
    """Whether it is published is not known, unless it is repeated."""
    why = f"the brokers did not confirm it {when}: repeat it as it is"
    return Overloaded(why, code="unconfirmed", scope="system", retryable=True, retry_after=2)


def no_webhook_secret(name: str, why: str) -> Problem:
    return Problem(
        f"the secret {name} of this webhook cannot be used: {why}",
        code="webhook_secret_missing",
        status=503,
        scope="system",
        retryable=True,
        retry_after=60,
    )


def brokers_away() -> Overloaded:
    why = "the brokers do not confirm what was sent to them before"
    return Overloaded(why, code="brokers_away", scope="system", retryable=True, retry_after=2)
