-- Is this head one that everyone reads alike, and small enough? nginx drops lines that it does not understand, and
-- says 400 to a second Authorization line; the API does neither.

local settings = require "paidonce.settings"

local M = {}

-- A line that begins with neither a header's name and a colon nor the head's end (RFC 9112, section 5).
local FOREIGN_LINE = [[\n(?!\r?\n|\z|[!#$%&'*+.^_`|~0-9A-Za-z-]+:)]]

-- Returns the code of the problem with this request's head; nil when there is none.
function M.fault()
  local raw = ngx.req.raw_header()
  if #raw > settings.head_bytes_max then return "head-too-large" end
  -- HTTP/0.9 has no head at all.
  if ngx.req.http_version() < 1 or ngx.re.find(raw, FOREIGN_LINE, "jo") then
    return "bad-request"
  end
end

-- Returns the code of the problem with a request that nginx itself refused as malformed.
function M.refused()
  local fine, raw = pcall(ngx.req.raw_header)
  if not fine then return "bad-request" end
  local _, lines = raw:lower():gsub("\nauthorization:", "")
  return lines > 1 and "invalid-token" or "bad-request"
end

return M
