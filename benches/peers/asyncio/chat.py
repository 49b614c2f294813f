"""A chat server on asyncio's streams: `python3 chat.py [PORT]`. It sends each line of a client to all other clients."""

from __future__ import annotations

import asyncio
import sys
from asyncio import StreamReader, StreamWriter

LINE_BYTES = 16_384
UNSENT_BYTES = 65_536

clients: set[StreamWriter] = set()


async def serve(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(b"welcome\n")
    clients.add(writer)
    try:
        # At the end of the stream readline returns the line without a newline, then nothing.
        while line := await reader.readline():
            line = line.removesuffix(b"\n").removesuffix(b"\r") + b"\n"
            for other in clients - {writer}:
                # A client that does not read misses lines, so that it does not fill our memory.
                if other.transport.get_write_buffer_size() < UNSENT_BYTES:
                    other.write(line)
            await writer.drain()
    except (OSError, ValueError):
        pass  # ValueError: the line is longer than LINE_BYTES
    finally:
        clients.discard(writer)
        writer.close()


async def main() -> None:
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=LINE_BYTES)
    print("127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
