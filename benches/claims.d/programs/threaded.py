"""The original on asyncio, with a thread for each connection instead: `threaded.py SERVER PORT`.

    threaded.py SERVER races SECONDS      counts how often a thread overwrites a newer report with an older one
"""

import importlib.util
import itertools
import socket
import socketserver
import sys
import threading
import time

sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("server", sys.argv[1])
server = importlib.util.module_from_spec(spec)
sys.modules["server"] = server
spec.loader.exec_module(server)
chatserver = server.Chatserver(b"Alford", None)


class Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        for line in self.rfile:
            command = line.strip()
            try:
                answer = chatserver.iamat(*command.split()[1:])
            except server.Invalid:
                answer = b"? " + command
            self.wfile.write(answer + b"\n")


class Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = socket.SOMAXCONN


class Watched(dict):
    """Counts the reports that replace a newer one, which the check of the original should prevent."""

    lost = 0

    def __setitem__(self, client, sighting):
        known = self.get(client)
        self.lost += known is not None and known.stamp > sighting.stamp
        super().__setitem__(client, sighting)


def races(seconds, threads=4):
    """Each thread reports one client with ever newer stamps."""
    stamps, end = itertools.count(), time.monotonic() + seconds
    chatserver.clients = Watched()

    def run():
        while time.monotonic() < end:
            chatserver.learn(b"client", server.Sighting(next(stamps), b"", b""))

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print(next(stamps), chatserver.clients.lost)


if sys.argv[2] == "races":
    races(float(sys.argv[3]))
else:
    Listener(("127.0.0.1", int(sys.argv[2])), Connection).serve_forever()
