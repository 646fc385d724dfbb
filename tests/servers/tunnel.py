"""A forward proxy, as companies have them before the world: CONNECT and nothing else (RFC 9110, 9.3.6).

Owns which names it was asked for, and leads all of them to one server, so that clients may use names that nobody knows.
"""

import contextlib
import socket
import socketserver
import threading
from typing import List


class Tunnel(socketserver.ThreadingTCPServer):
    """Listens at ``endpoint``; whatever it is asked for, the other end is ``port`` of 127.0.0.1."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = port
        # HOST:PORT of each CONNECT
        self.asked: List[str] = []
        self.endpoint = "http://127.0.0.1:%d" % self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, name="tunnel", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections."""
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    server: Tunnel
    # what follows the head belongs to the other end: it is not read ahead
    rbufsize = 0

    def handle(self) -> None:
        method, _, rest = self.rfile.readline().decode("latin-1").partition(" ")
        while self.rfile.readline().strip():
            pass
        if method != "CONNECT":
            self.wfile.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            return
        self.server.asked.append(rest.partition(" ")[0])
        with socket.create_connection(("127.0.0.1", self.server.port)) as other:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(other, self.connection), daemon=True)
            back.start()
            _pump(self.connection, other)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            data = source.recv(65536)
            if not data:
                break
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
