"""Reads and writes a bucket with NATS' own client, for tests/suite/herd/bus_real.rs.

    bucket.py URL make BUCKET            makes it, as a program would that comes before the herd
    bucket.py URL list BUCKET            prints "KEY VALUE" for each key
    bucket.py URL put BUCKET KEY VALUE
    bucket.py URL delete BUCKET KEY
"""

import asyncio
import sys

import nats
from nats.js.errors import NoKeysError


async def main(url: str, what: str, name: str, *rest: str) -> None:
    connection = await nats.connect(url)
    stream = connection.jetstream()
    if what == "make":
        await stream.create_key_value(bucket=name)
        return await connection.close()
    bucket = await stream.key_value(name)
    if what == "list":
        try:
            keys = await bucket.keys()
        except NoKeysError:
            keys = []
        for key in keys:
            print(key, (await bucket.get(key)).value.decode())
    elif what == "put":
        await bucket.put(rest[0], rest[1].encode())
    elif what == "delete":
        await bucket.delete(rest[0])
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
