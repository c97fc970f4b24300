-- How is the gateway doing? Counters of all workers, in the text format of Prometheus.

local monotonic = require "paidonce.monotonic"
local settings = require "paidonce.settings"

local M = {}

local dict = ngx.shared.paidonce_metrics
local keys = ngx.shared.paidonce_keys

-- Counts one request, when it is over.
function M.count(service)
  local name = service and service.name or "none"
  dict:incr(("requests\0%s\0%s"):format(name, ngx.status), 1, 0)
  local reason = ngx.var.paidonce_reason
  -- What stands behind the colon may be the caller's own text.
  if reason and reason ~= "" then dict:incr(("refused\0%s\0%s"):format(name, reason:match("^[^:]*")), 1, 0) end
end

local FORMS = {
  requests = 'paidonce_gateway_requests_total{service="%s",status="%s"} %d\n',
  refused = 'paidonce_gateway_refused_total{service="%s",reason="%s"} %d\n',
}

local function write_counters(lines)
  local names = dict:get_keys(0)
  table.sort(names)
  for _, name in ipairs(names) do
    local form, service, label = name:match("^(%l+)%z(.-)%z(.*)$")
    lines[#lines + 1] = FORMS[form]:format(service, label, dict:get(name) or 0)
  end
end

local function write_key_sets(lines)
  for _, issuer in ipairs(settings.issuers) do
    local name = issuer.issuer
    for _, result in ipairs({ "good", "failed" }) do
      lines[#lines + 1] = ('paidonce_gateway_key_fetches_total{issuer="%s",result="%s"} %d\n'):format(
        name, result, keys:get("fetches_" .. result .. ":" .. name) or 0)
    end
    local fetched_at = keys:get("fetched_at:" .. name)
    if fetched_at then
      lines[#lines + 1] = ('paidonce_gateway_key_set_age_seconds{issuer="%s"} %.0f\n'):format(
        name, monotonic() - fetched_at)
    end
  end
end

-- Answers with every figure.
function M.show()
  local lines = {
    "# TYPE paidonce_gateway_requests_total counter\n",
    "# TYPE paidonce_gateway_refused_total counter\n",
    "# TYPE paidonce_gateway_key_fetches_total counter\n",
    "# TYPE paidonce_gateway_key_set_age_seconds gauge\n",
  }
  write_counters(lines)
  write_key_sets(lines)
  ngx.header["Content-Type"] = "text/plain; version=0.0.4"
  ngx.print(lines)
end

return M
