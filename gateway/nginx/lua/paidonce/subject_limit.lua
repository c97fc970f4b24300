-- Does this caller ask too often? By subject, after its token was verified; by address nginx itself counts, before.
--
-- A sliding window over the shared dictionary: this window's count, and the last one's by the share of it that
-- still lies within the time. Each worker adds with one atomic step.

local settings = require "paidonce.settings"

local M = {}

local dict = ngx.shared.paidonce_limits

-- Returns nil when the caller may go on; else the seconds after which it may.
function M.wait_s(principal)
  local limit = settings.subject_limit
  if not limit then return nil end
  local now = ngx.now()
  local window = math.floor(now / limit.window_s)
  -- Hashed: a subject is a personal thing, and may be long.
  local name = ngx.md5(principal.issuer .. "\0" .. principal.tenant .. "\0" .. principal.sub)
  local passed = now / limit.window_s - window
  local before = dict:get(name .. (window - 1)) or 0
  local count = dict:incr(name .. window, 1, 0, 2 * limit.window_s)
  -- The dictionary is full of live counters: nobody is turned away for that.
  if not count or before * (1 - passed) + count <= limit.requests then return nil end
  -- What was refused does not count, or who asks on would never get in again.
  dict:incr(name .. window, -1)
  return math.max(1, math.ceil((1 - passed) * limit.window_s))
end

return M
