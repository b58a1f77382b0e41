"""Passes connections on to a registry and counts their bytes: count.py PORT REGISTRY-PORT FILE.

When it is terminated, it writes into FILE how many bytes came from the registry and how many went to it.
"""

import asyncio
import pathlib
import signal
import sys

counted = {"from": 0, "to": 0}


async def pass_on(reader, writer, direction):
    try:
        while piece := await reader.read(1 << 18):
            counted[direction] += len(piece)
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def serve(reader, writer):
    upstream, downstream = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    await asyncio.gather(pass_on(reader, downstream, "to"), pass_on(upstream, writer, "from"))


async def main():
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await ended.wait()
    pathlib.Path(sys.argv[3]).write_text(f"{counted['from']} {counted['to']}\n")


asyncio.run(main())
