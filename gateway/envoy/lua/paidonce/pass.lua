-- The token is good: what is the verdict? Only this filter names the route to a service, so a request that did not
-- come through it reaches none.

local answer = require "paidonce.answer"
local note = require "paidonce.note"

local M = {}

local ROUTE = "x-paidonce-route"

-- Lets the request go to its service, or ends it.
function M.pass(handle)
  local noted = note.all(handle)
  if noted.verdict == "pass" then
    handle:headers():replace(ROUTE, "service " .. noted.service)
    return handle:clearRouteCache()
  end
  return answer.refuse(handle, {
    code = noted.verdict or "internal",
    headers = noted.header and { [noted.header] = noted.value },
    opening = noted.opening,
  })
end

return M
