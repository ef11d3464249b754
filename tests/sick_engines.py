"""Docker Engines that answer probes and swallow everything else, on loopback, in one thread."""

import asyncio
import json
import threading

ANSWERS = {
    "/version": {"ApiVersion": "1.41"},
    "/info": {"ServerVersion": "24.0.0", "MemTotal": 8 * 2**30, "NCPU": 4},
    "/containers/json": [],
}


class SickEngines:
    """Some engines. `ports` has where they listen, `holding` the ports with a call that hangs."""

    def __init__(self, count):
        self.ports = []
        self.holding = set()
        self._count = count
        self._writers = set()
        self._there = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._there.wait(20)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)

    async def _serve(self):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        servers = [
            await asyncio.start_server(self._answer, "127.0.0.1", 0) for _ in range(self._count)
        ]
        self.ports = [server.sockets[0].getsockname()[1] for server in servers]
        self._there.set()
        await self._over.wait()
        for server in servers:
            server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        # Each handler reads the end of its connection, and closes it.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _answer(self, reader, writer):
        self._writers.add(writer)
        while line := await reader.readline():
            while (await reader.readline()).strip():
                pass
            path = line.split()[1].decode().partition("?")[0]
            answer = next((ANSWERS[end] for end in ANSWERS if path.endswith(end)), None)
            if answer is None or not line.startswith(b"GET"):
                port = writer.get_extra_info("sockname")[1]
                self.holding.add(port)
                await reader.read()  # nothing more comes until the client hangs up
                self.holding.discard(port)
                break
            body = json.dumps(answer).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
        self._writers.discard(writer)
        writer.close()
