import asyncio, json, resource, sys, time
import aiohttp

url, seconds, concurrency = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
count = 0


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def main():
    global count
    limit = asyncio.Semaphore(concurrency)
    over = False

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async def loop():
            global count
            while not over:
                async with limit, session.get(f"{url}/{count % 500}") as response:
                    await response.read()
                count += 1

        tasks = [asyncio.create_task(loop()) for _ in range(concurrency)]
        await asyncio.sleep(1)
        at, used, before = time.perf_counter(), cpu(), count
        await asyncio.sleep(seconds)
        print(json.dumps({
            "requests": count - before,
            "seconds": time.perf_counter() - at,
            "cpuSeconds": cpu() - used,
            "rssMiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }))
        over = True
        await asyncio.gather(*tasks)

asyncio.run(main())
