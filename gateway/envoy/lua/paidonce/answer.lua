-- How does the gateway say no? With the problem document that the API itself would answer.

local note = require "paidonce.note"
local settings = require "paidonce.settings"

local M = {}

-- Ends the request: `refusal` is {code, reason, headers, opening}, all but the first optional. `headers` are added to
-- the problem's own, and `opening` is a document with a detail of its own, without the last brace.
function M.refuse(handle, refusal)
  local problem = settings.problems[refusal.code]
  local request_id = handle:headers():get("x-request-id")
  note.put(handle, { answered = true, reason = refusal.reason or refusal.code })
  local headers = {
    [":status"] = tostring(problem.status),
    ["content-type"] = "application/problem+json",
    ["x-content-type-options"] = "nosniff",
    ["cache-control"] = "private, no-cache",
    ["x-request-id"] = request_id,
  }
  for name, value in pairs(problem.headers) do headers[name:lower()] = value end
  for name, value in pairs(refusal.headers or {}) do headers[name:lower()] = value end
  -- An id has neither quotes nor backslashes (mark.lua).
  handle:respond(headers, ('%s,"request_id":"%s"}'):format(refusal.opening or problem.opening, request_id))
end

return M
