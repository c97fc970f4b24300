-- Is the service there? After failures in a row nobody is sent to it for a time; then one request tries.
--
-- A failure is no answer: nginx had to say 502 or 504 itself. What a service answers, whatever it is, is an answer.

local settings = require "paidonce.settings"

local M = {}

local dict = ngx.shared.paidonce_limits

-- Returns nil when the request may go to the service; else the seconds after which to ask again.
function M.wait_s(service)
  local open_until = dict:get("open:" .. service.name)
  if not open_until then return nil end
  local left_s = open_until - ngx.now()
  if left_s > 0 then return math.max(1, math.ceil(left_s)) end
  -- One request tries; the next one only if nothing was heard of it for as long as the breaker stays open.
  if dict:add("trial:" .. service.name, true, settings.breaker.open_s) then return nil end
  return 1
end

local function failed(service)
  local failures = dict:incr("failures:" .. service.name, 1, 0)
  if failures and failures >= settings.breaker.failures then
    dict:set("open:" .. service.name, ngx.now() + settings.breaker.open_s)
    dict:delete("trial:" .. service.name)
  end
end

-- Notes how a request that was sent to the service ended.
function M.note(service)
  if ngx.var.upstream_addr == nil then return end
  local status = tonumber((ngx.var.upstream_status or ""):match("(%d+)%D*$"))
  -- nginx notes its own 502 and 504 as the service's; one that came from the service has a head with a length of time.
  if (status == 502 or status == 504) and ngx.var.upstream_header_time:match("%-$") then return failed(service) end
  if status == 499 then return end
  if not dict:get("failures:" .. service.name) then return end
  for _, name in ipairs({ "failures:", "open:", "trial:" }) do dict:delete(name .. service.name) end
end

return M
