"""`python -m demo.live`: the flights after the story, at a lively speed. Resumes where it was."""

import argparse
import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path

from demo.__main__ import END, LIVE_SPEED, STORY, progress_file
from demo.replay import Sender, bearer, replay
from local import places

STEP = timedelta(hours=1)


def where(note: Path) -> datetime:
    """Event time up to which everything was sent."""
    told = json.loads(note.read_text()) if note.exists() else {}
    return datetime.fromisoformat(told["sent_until"]) if "sent_until" in told else STORY


async def go_on(server: str) -> None:
    """Hour by hour until the year is over. A step that was cut short is sent again: ids make that harmless."""
    note = progress_file(places.home())
    sender = Sender(server, bearer(server), patience=3600)
    now = where(note)
    while now < END:
        await replay(sender, start=now, end=now + STEP, speed=LIVE_SPEED, references=False, close=False)
        now += STEP
        note.write_text(json.dumps({"story": "told", "sent_until": now.isoformat()}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.live", description=__doc__)
    parser.add_argument("--server", required=True)
    asyncio.run(go_on(parser.parse_args().server))


if __name__ == "__main__":
    main()
