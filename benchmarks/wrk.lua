-- Sends the body in the file that is named after "--", and prints what load.py reads.

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["X-User"] = "ada"
  file:close()
end

local function failures(errors)
  return errors.connect + errors.read + errors.write + errors.status + errors.timeout
end

function done(summary, latency, requests)
  local failed = failures(summary.errors)
  local answered = summary.requests - summary.errors.status
  io.write(string.format(
    '{"p50": %.4f, "p99": %.4f, "rate": %.2f, "answered": %d, "failed": %d}\n',
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    answered / (summary.duration / 1e6), answered, failed))
end
