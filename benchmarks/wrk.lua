-- The request that wrk sends (method, path and body after "--" on its command line), and its figures as JSON.
function init(args)
  wrk.method, wrk.path, wrk.body = args[1], args[2], args[3]
  if wrk.body then wrk.headers["Content-Type"] = "application/json" end
  if args[4] then  -- the beginning of idempotency keys
    local number = 0
    function request()
      number = number + 1
      wrk.headers["Idempotency-Key"] = args[4] .. number
      return wrk.format()
    end
  end
end

function done(summary, latency)
  local wrong = 0
  for _, count in pairs(summary.errors) do wrong = wrong + count end
  io.write(string.format('\n{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "wrong": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, wrong))
end
