-- The load, by wrk: `wrk ... URL -- KIND RUN IDS`, with keys and ids that are never the same. The last line it prints is its figures as JSON.

-- setup and done live in a Lua state of their own, beside those of the threads.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("threadId", threads)
end

function init(args)
  local kind, run, ids = args[1], args[2], args[3]
  local host = wrk.headers["Host"]
  local count = 0
  if kind == "POST" then
    -- Written by hand: wrk.format costs as much as the rest of a request.
    local head = "POST /v1/orders HTTP/1.1\r\nHost: " .. host .. "\r\nContent-Type: application/json\r\nIdempotency-Key: "
    local key = run .. "-" .. threadId .. "-"
    request = function()
      count = count + 1
      local body = '{"customerId":"customer-' .. 1 + count % 1000 .. '","items":[{"sku":"sku-' .. 1 + count % 100 .. '","quantity":1}]}'
      return head .. key .. count .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
    end
    return
  end
  local requests = {}
  if kind == "GET" then
    for id in ids:gmatch("[^,]+") do requests[#requests + 1] = wrk.format("GET", "/v1/orders/" .. id) end
  else
    for index = 1, 100 do
      requests[index] = wrk.format("GET", "/v1/orders?customerId=customer-" .. index .. "&limit=20")
    end
  end
  request = function()
    count = count + 1
    return requests[1 + count % #requests]
  end
end

-- wrk "corrects" its latencies for the requests that a client which does not wait for answers would have made meanwhile ("coordinated omission"): for each that
-- took twice the mean and more it adds invented ones. Wanted are the latencies of the requests that were made, as autocannon tells them:
-- from the slowest on, each takes back what was added for it.
local function percentiles(summary, latency, connections)
  local counts, values = {}, {}
  for index = 1, #latency do
    local value, count = latency(index)
    counts[value], values[index] = count, value
  end
  local mean = math.floor(summary.duration / math.max(1, math.floor(summary.requests / connections)))
  for index = #values, 1, -1 do
    local value = values[index]
    local added = value - mean
    while added > mean do
      counts[added] = counts[added] - counts[value]
      added = added - mean
    end
  end
  return function(share)
    local seen = 0
    for _, value in ipairs(values) do
      seen = seen + counts[value]
      if seen >= share * summary.requests then return value end
    end
    return 0
  end
end

function done(summary, latency)
  local percentile = percentiles(summary, latency, tonumber(os.getenv("SLUICE_BENCH_CONNECTIONS")))
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"p50":%.2f,"p99":%.2f,"failed":%d}\n',
    summary.requests,
    summary.duration / 1e6,
    percentile(0.5) / 1e3,
    percentile(0.99) / 1e3,
    -- A status counts from 400 on; nothing here redirects.
    errors.status + errors.connect + errors.read + errors.write + errors.timeout
  ))
end
