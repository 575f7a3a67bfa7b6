"""HTTP load that takes little of the machine: requests as bytes on keep-alive connections, in a thread of its own.

Each connection has one request under way. A request is made from a template by putting in numbers that no request
had before: bodies are ready, ids are new.
"""

import asyncio
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

PLACE = b"@@@@@@@@@@"
"""Where a request's number goes."""
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "
GIVE_UP_SECONDS = 60.0


@dataclass(frozen=True)
class Template:
    """A request, but for its number."""

    request: bytes
    events: int
    good: bytes
    """What an answer must hold to count."""

    def numbered(self, number: int) -> bytes:
        return self.request.replace(PLACE, b"%010d" % number)


def template(path: str, kind: str, body: bytes, events: int, good: bytes) -> Template:
    """A push of such a body; `PLACE` in it is replaced."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Template(head.encode() + body, events, good)


@dataclass
class Load:
    """What came of it."""

    events: int = 0
    """Acknowledged while it lasted."""
    begin: float = 0.0
    """Monotonic."""
    seconds: float = 0.0
    cpu: float = 0.0
    """CPU seconds of the generator itself."""
    unsent: int = 0
    """Requests that were due when every connection waited, beyond those that could wait their turn."""
    statuses: Counter[bytes] = field(default_factory=Counter)
    wrong: list[bytes] = field(default_factory=list)
    """Answers of 200 that do not hold what they must."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from when a request was due to its whole answer, of those that were accepted."""

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    @property
    def milliseconds(self) -> npt.NDArray[np.float64]:
        return np.array(self.latencies) * 1000


@dataclass
class Connection:
    """One request at a time."""

    socket: socket.socket
    due: float = 0.0
    sent: bytes = b""
    """The request under way."""
    answer: bytes = b""

    def whole(self) -> bytes | None:
        """The answer once all of it is there."""
        end = self.answer.find(HEAD_END)
        if end < 0:
            return None
        head = self.answer[:end].lower()
        at = head.find(LENGTH) + len(LENGTH)
        length = int(head[at : head.find(b"\r\n", at) if head.find(b"\r\n", at) > 0 else None])
        return self.answer if len(self.answer) >= end + len(HEAD_END) + length else None


@dataclass
class Generator:
    """`rate` None: as fast as the connections are answered. Else so many requests a second, come what may."""

    port: int
    template: Template
    connections: int
    seconds: float
    rate: float | None = None
    first: int = 0
    """The number of the first request."""
    stop: Callable[[], bool] = lambda: False

    async def run(self) -> Load:
        return await asyncio.to_thread(self._run)

    def _run(self) -> Load:
        self.load, self.number = Load(), self.first
        cpu = time.thread_time()
        with selectors.DefaultSelector() as self.ready:
            self.idle = [self._connect() for _ in range(self.connections)]
            self.waiting: deque[float] = deque()
            begin = time.monotonic()
            self._drive(begin, begin + self.seconds)
            self.load.begin, self.load.seconds = begin, self.seconds
            self._await_the_rest()
            for key in list(self.ready.get_map().values()):
                key.data.socket.close()
        self.load.cpu = time.thread_time() - cpu
        return self.load

    def _connect(self) -> Connection:
        connection = Connection(self._line())
        self.ready.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def _line(self) -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self.port), timeout=GIVE_UP_SECONDS)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        return line

    def _renew(self, connection: Connection) -> None:
        """The service closes what rests; what was under way then is sent again."""
        self.ready.unregister(connection.socket)
        connection.socket.close()
        connection.socket = self._line()
        self.ready.register(connection.socket, selectors.EVENT_READ, connection)
        connection.answer = b""
        if connection.sent:
            connection.socket.sendall(connection.sent)

    def _drive(self, begin: float, end: float) -> None:
        due = begin
        while (now := time.monotonic()) < end:
            if self.rate is None:
                while self.idle:
                    self._send(self.idle.pop(), now)
                self._receive(0.1)
                continue
            while due <= now:
                self.waiting.append(due)
                due += 1 / self.rate
            while self.waiting and self.idle:
                self._send(self.idle.pop(), self.waiting.popleft())
            while len(self.waiting) > self.connections:
                self.waiting.pop()
                self.load.unsent += 1
            self._receive(max(0.0, min(due, end) - time.monotonic()))

    def _send(self, connection: Connection, due: float) -> None:
        connection.due, connection.sent = due, self.template.numbered(self.number)
        self.number += 1
        try:
            connection.socket.sendall(connection.sent)
        except ConnectionError:
            self._renew(connection)

    def _receive(self, wait: float, counted: bool = True) -> None:
        for key, _ in self.ready.select(wait):
            connection: Connection = key.data
            try:
                part = connection.socket.recv(1 << 18)
            except ConnectionError:
                part = b""
            if not part:
                self._renew(connection)
                continue
            connection.answer += part
            answer = connection.whole()
            if answer is not None:
                if counted:
                    self._count(answer, connection.due)
                connection.sent = connection.answer = b""
                self.idle.append(connection)

    def _count(self, answer: bytes, due: float) -> None:
        status = answer[9:12]
        self.load.statuses[status] += 1
        if status == b"200" and self.template.good in answer:
            self.load.events += self.template.events
            self.load.latencies.append(time.monotonic() - due)
        elif status == b"200":
            self.load.wrong.append(answer[-200:])

    def _await_the_rest(self) -> None:
        """What is under way at the end is answered too, and not counted."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while len(self.idle) < self.connections and time.monotonic() < deadline:
            self._receive(0.1, counted=False)
