"""Time zones by their IANA names."""

from zoneinfo import ZoneInfo


def zone_of(name: str) -> ZoneInfo:
    """ValueError if there is no such zone."""
    try:
        return ZoneInfo(name)
    # It is unknown; a folder of zones, or too long a name; no name of a file.
    except (KeyError, OSError, ValueError):
        raise ValueError(
            f"there is no time zone {name[:100]}; give an IANA name, such as Europe/Berlin"
        ) from None
