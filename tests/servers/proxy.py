"""A proxy that stands before a test server and does what networks and overloaded servers do.

Owns the rules (which request suffers what), the count of what passed, and addresses where nobody answers. It forwards
heads and bodies unchanged, so a signature stays valid: the client is given the proxy's endpoint and signs that as Host,
which SeaweedFS accepts. It reads HTTP/1.1 as far as it must to know where a message ends, and speaks TLS with clients
where it is given a certificate.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
import threading
from dataclasses import dataclass
from typing import Any, AsyncIterator, Coroutine, Dict, Iterator, List, NamedTuple, Optional, Set, TypeVar
from urllib.parse import urlsplit

PIECE = 65536

T = TypeVar("T")

# S3's own words; boto3 goes by them as much as by the status
CODES = {403: "AccessDenied", 412: "PreconditionFailed", 503: "SlowDown"}
ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>'


@dataclass(frozen=True)
class Action:
    """What befalls a request; made by the functions below."""

    name: str
    amount: float = 0
    text: str = ""


def delay(seconds: float) -> Action:
    """Forward the request so much later."""
    return Action("delay", seconds)


def status(code: int = 503) -> Action:
    """Answer so, one of CODES, with S3's word for it, once the request was read; the server does not see it."""
    return s3_error(code, CODES[code])


def s3_error(code: int, name: str) -> Action:
    """The same with another one of S3's errors: ``s3_error(400, "ExpiredToken")``."""
    return Action("status", code, ERROR % (name, "No."))


def reset() -> Action:
    """Reset the connection once the head was read; the server does not see the request."""
    return Action("reset")


def hang() -> Action:
    """Read the request and never answer; the server does not see it."""
    return Action("hang")


def hang_after_headers() -> Action:
    """Forward the reply's head, and then nothing."""
    return Action("hang_after_headers")


def cut_upload(size: int) -> Action:
    """Forward so many bytes of the request's body, then close both connections."""
    return Action("cut_upload", size)


def cut_body(size: int) -> Action:
    """Forward so many bytes of the reply's body, then close."""
    return Action("cut_body", size)


def drop_reply() -> Action:
    """Forward the request, read the server's reply, and close without passing it on."""
    return Action("drop_reply")


def flip_bit(offset: int) -> Action:
    """Flip the lowest bit of one byte of the reply's body; a negative offset counts from its end."""
    return Action("flip_bit", offset)


def limit_rate(rate: float) -> Action:
    """Forward both bodies at so many bytes a second."""
    return Action("limit_rate", rate)


class Request(NamedTuple):
    """``path`` is as sent, with its query; ``status`` is what the client was sent, 0 for nothing."""

    method: str
    path: str
    status: int


@dataclass
class Rule:
    """The request it is for, and how often it still holds; None is for ever."""

    action: Action
    method: Optional[str]
    path_contains: str
    times: Optional[int]


@dataclass
class Head:
    """The head of a message: its bytes, the three parts of its first line, its fields by lower-case name."""

    raw: bytes
    first: List[str]
    fields: Dict[str, str]

    @property
    def keeps_alive(self) -> bool:
        return self.fields.get("connection", "").lower() != "close" and "HTTP/1.0" not in self.first

    @property
    def says_its_end(self) -> bool:
        """Whether a reply so headed can end before its connection does."""
        framed = "content-length" in self.fields or "transfer-encoding" in self.fields
        return framed or self.first[1] in ("204", "304")


class Closed(Exception):
    """The client's connection is at its end, by agreement or by rule."""


class Proxy:
    """Listens on 127.0.0.1 at ``endpoint`` and forwards to ``upstream``, an http endpoint, in a thread of its own.

    ``bytes_up`` and ``bytes_down`` count what the client sent and was sent, heads and bodies,
    ``connections`` those that clients have made; ``heads`` are the fields of each request, by lower-case name.
    """

    def __init__(self, upstream: str, tls: Optional[ssl.SSLContext] = None) -> None:
        parts = urlsplit(upstream)
        assert parts.scheme == "http" and parts.hostname and parts.port
        self.upstream = (parts.hostname, parts.port)
        self.bytes_up = self.bytes_down = self.connections = 0
        self.requests: List[Request] = []
        self.heads: List[Dict[str, str]] = []
        self._tls = tls
        self._rules: List[Rule] = []
        self._lock = threading.Lock()
        self._tasks: "Set[asyncio.Task[Any]]" = set()
        self._loop = asyncio.new_event_loop()
        self._ended = self._loop.create_future()
        # bound here, so that the endpoint is known and no other thread has to be waited for
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._socket.getsockname()[1])
        self.endpoint = "%s://127.0.0.1:%d" % ("https" if tls else "http", self.port)
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def rule(
        self, *, action: Action, method: Optional[str] = None, path_contains: str = "", times: Optional[int] = None
    ) -> None:
        """Do this to requests that match, ``times`` times. Of several rules the first that matches holds."""
        with self._lock:
            self._rules.append(Rule(action, method, path_contains, times))

    def clear(self) -> None:
        """Forget the rules and what was counted."""
        with self._lock:
            self._rules.clear()
        self.requests.clear()
        self.heads.clear()
        self.bytes_up = self.bytes_down = self.connections = 0

    def stop(self) -> None:
        """Close all connections and end; a second call does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set_result, None)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accepted, sock=self._socket, limit=PIECE, ssl=self._tls)
        await self._ended
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # transports close in the loop's next round
        await asyncio.sleep(0.01)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.spawn(Connection(self, reader, writer).serve())

    def spawn(self, work: "Coroutine[Any, Any, T]") -> "asyncio.Task[T]":
        """A task that ends with the proxy; its failure is heard, for whoever waits for it hears it too."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    def take(self, method: str, path: str) -> Action:
        """The action for this request; ``pass`` where no rule matches."""
        with self._lock:
            for rule in self._rules:
                if rule.times != 0 and rule.method in (None, method) and rule.path_contains in path:
                    rule.times = rule.times and rule.times - 1
                    return rule.action
        return Action("pass")


class Connection:
    """One connection of a client and, once needed, the one to the server that goes with it."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy, self.reader, self.writer = proxy, reader, writer
        self.server_reader: Optional[asyncio.StreamReader] = None
        self.server_writer: Optional[asyncio.StreamWriter] = None

    async def serve(self) -> None:
        try:
            while True:
                await self.exchange(await read_head(self.reader))
        except (Closed, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            # what was not sent yet shall not hold up the end
            self.writer.transport.abort()
            raise
        finally:
            for writer in (self.writer, self.server_writer):
                if writer is not None:
                    writer.close()

    async def exchange(self, head: Head) -> None:
        """One request and what becomes of it."""
        method, path = head.first[:2]
        action = self.proxy.take(method, path)
        self.proxy.bytes_up += len(head.raw)
        index = len(self.proxy.requests)
        self.proxy.requests.append(Request(method, path, 0))
        self.proxy.heads.append(head.fields)
        code = await self.answer(head, action) if action.name in ("status", "reset", "hang") else 0
        if not code:
            reply = await self.forward(head, action)
            code = int(reply.first[1])
            if action.name == "drop_reply":
                await self.read_away(reply, method)
                raise Closed
            # before the client can know
            self.told(index, code)
            await self.send_back(reply, method, action)
            if not (head.keeps_alive and reply.keeps_alive and reply.says_its_end):
                raise Closed
        self.told(index, code)

    def told(self, index: int, code: int) -> None:
        # the list may have been cleared meanwhile
        with contextlib.suppress(IndexError):
            self.proxy.requests[index] = self.proxy.requests[index]._replace(status=code)

    async def answer(self, head: Head, action: Action) -> int:
        """Do without the server; returns the status sent."""
        if action.name == "reset":
            self.linger_none()
            raise Closed
        await self.go_on(head)
        async for piece in body(self.reader, head.fields):
            self.proxy.bytes_up += len(piece)
        if action.name == "hang":
            await self.wait_for_client()
        code = int(action.amount)
        fields = f"Content-Type: application/xml\r\nContent-Length: {len(action.text)}\r\n\r\n"
        await self.send_client(f"HTTP/1.1 {code} No\r\n{fields}".encode())
        if head.first[0] != "HEAD":
            await self.send_client(action.text.encode())
        return code

    async def forward(self, head: Head, action: Action) -> Head:
        """Send the request to the server; returns the head of its reply."""
        if action.name == "delay":
            await asyncio.sleep(action.amount)
        reader, writer = await self.server()
        writer.write(head.raw)
        await self.go_on(head)
        # a server that refuses does so before it has read the body, and may close then
        reply = self.proxy.spawn(read_reply(reader))
        try:
            await self.upload(head, action, writer, reply)
            return await reply
        finally:
            reply.cancel()

    async def upload(
        self, head: Head, action: Action, writer: asyncio.StreamWriter, reply: "asyncio.Task[Head]"
    ) -> None:
        """Read the request's body to its end and send it to the server, until that replies."""
        left = int(action.amount) if action.name == "cut_upload" else sys.maxsize
        async for piece in paced(body(self.reader, head.fields), action):
            self.proxy.bytes_up += len(piece)
            if reply.done():
                writer.close()
                continue
            writer.write(piece[:left])
            with contextlib.suppress(OSError):
                await writer.drain()
            left -= len(piece)
            if left <= 0:
                break
        if action.name == "cut_upload":
            raise Closed

    async def send_back(self, reply: Head, method: str, action: Action) -> None:
        """Send the reply to the client, as far as the action lets it."""
        await self.send_client(reply.raw)
        if action.name == "hang_after_headers":
            await self.wait_for_client()
        at = int(action.amount)
        if at < 0:
            at += int(reply.fields["content-length"])
        sent = 0
        async for piece in paced(self.reply_body(reply, method), action):
            if action.name == "cut_body" and sent + len(piece) >= at:
                await self.send_client(piece[: at - sent])
                raise Closed
            if action.name == "flip_bit" and sent <= at < sent + len(piece):
                changed = bytearray(piece)
                changed[at - sent] ^= 1
                piece = bytes(changed)
            sent += len(piece)
            await self.send_client(piece)

    async def read_away(self, reply: Head, method: str) -> None:
        async for _ in self.reply_body(reply, method):
            pass

    def reply_body(self, reply: Head, method: str) -> AsyncIterator[bytes]:
        assert self.server_reader is not None
        if method == "HEAD" or reply.first[1] in ("204", "304"):
            return body(self.server_reader, {})
        return body(self.server_reader, reply.fields, to_the_end=True)

    async def server(self) -> "tuple[asyncio.StreamReader, asyncio.StreamWriter]":
        """The connection to the server, made anew if the server has closed it."""
        if self.server_writer is not None and self.server_reader is not None:
            dead = self.server_reader.at_eof() or self.server_reader.exception() or self.server_writer.is_closing()
            if not dead:
                return self.server_reader, self.server_writer
            self.server_writer.close()
        self.server_reader, self.server_writer = await asyncio.open_connection(*self.proxy.upstream, limit=PIECE)
        return self.server_reader, self.server_writer

    async def send_client(self, piece: bytes) -> None:
        self.proxy.bytes_down += len(piece)
        self.writer.write(piece)
        await self.writer.drain()

    async def go_on(self, head: Head) -> None:
        """The proxy says "continue" itself; what the server says to that is passed over."""
        if head.fields.get("expect", "").lower() == "100-continue":
            await self.send_client(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def wait_for_client(self) -> None:
        """Wait until the client gives up."""
        while await self.reader.read(PIECE):
            pass
        raise Closed

    def linger_none(self) -> None:
        """Make the close that follows a reset."""
        client = self.writer.get_extra_info("socket")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def read_head(reader: asyncio.StreamReader) -> Head:
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Head(raw, first.split(" ", 2), {name.lower(): value.strip() for name, _, value in pairs})


async def read_reply(reader: asyncio.StreamReader) -> Head:
    """The head of a reply that is final."""
    reply = await read_head(reader)
    while reply.first[1] == "100":
        reply = await read_head(reader)
    return reply


async def body(reader: asyncio.StreamReader, fields: Dict[str, str], to_the_end: bool = False) -> AsyncIterator[bytes]:
    """The bytes of a body as they come, those that frame its chunks too.

    A body without a length ends with the connection if ``to_the_end`` (a reply's), else it is empty.
    """
    if fields.get("transfer-encoding", "").lower() == "chunked":
        size = 1
        while size:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line
            if size:
                yield await reader.readexactly(size + 2)
        while line != b"\r\n":
            line = await reader.readuntil(b"\r\n")
            yield line
        return
    left = int(fields["content-length"]) if "content-length" in fields else -1 if to_the_end else 0
    while left:
        piece = await reader.read(PIECE if left < 0 else min(left, PIECE))
        if not piece:
            if left > 0:
                raise asyncio.IncompleteReadError(b"", left)
            return
        left -= len(piece) if left > 0 else 0
        yield piece


async def paced(pieces: AsyncIterator[bytes], action: Action) -> AsyncIterator[bytes]:
    """The same bytes; under ``limit_rate`` in small pieces, each as late as the rate wants."""
    async for piece in pieces:
        if action.name != "limit_rate":
            yield piece
            continue
        step = max(1, int(action.amount / 20))
        for start in range(0, len(piece), step):
            part = piece[start : start + step]
            await asyncio.sleep(len(part) / action.amount)
            yield part


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """An endpoint that refuses every connection: its port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield "http://127.0.0.1:%d" % taken.getsockname()[1]


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An endpoint where connecting hangs: its queue is full, and nobody accepts."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(64):
            filler = held.enter_context(socket.socket())
            filler.settimeout(0.2)
            try:
                filler.connect(listener.getsockname())
            except OSError:
                break
        else:
            raise RuntimeError("this kernel's listen queue does not fill")
        yield "http://127.0.0.1:%d" % listener.getsockname()[1]
