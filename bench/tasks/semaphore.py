"""Microseconds for each of n tasks of a gather behind a semaphore of 100: `semaphore.py n`."""
import asyncio
import sys
import time

n = int(sys.argv[1])


async def main():
    limit = asyncio.Semaphore(100)

    async def job(i):
        async with limit:
            await asyncio.sleep(0)
            return i

    async def run():
        start = time.perf_counter()
        await asyncio.gather(*(job(i) for i in range(n)))
        return (time.perf_counter() - start) * 1e6 / n

    await run()
    print(await run())


asyncio.run(main())
