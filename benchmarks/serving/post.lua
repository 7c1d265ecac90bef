-- wrk sends the body that the file of its first argument has, and says in JSON what came of it.
function init(arguments)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  local file = io.open(arguments[1])
  wrk.body = file:read("*a")
  file:close()
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local line = '{"a_second": %f, "p50": %f, "p99": %f, "failed": %d}'
  local seconds = summary.duration / 1e6
  io.write(line:format(summary.requests / seconds, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed), "\n")
end
