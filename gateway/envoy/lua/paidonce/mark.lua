-- Which request is this, from which page, and what does every answer to it say? The first filter, and so the last one
-- that sees an answer, whoever gave it.

local note = require "paidonce.note"
local origins = require "paidonce.origins"

local M = {}

-- A new id for a request, which Envoy itself writes.
local FRESH_ID = "x-paidonce-fresh"
-- What the limit by subject says of a request that it turned away.
local LIMITED, RESET_S = "x-paidonce-limited", "x-ratelimit-reset"
local QUOTA = { LIMITED, RESET_S, "x-ratelimit-limit", "x-ratelimit-remaining" }

-- Notes the request's id and origin, before any other filter can refuse it.
function M.begin(handle)
  local headers = handle:headers()
  local id = headers:get("x-request-id") or ""
  if #id > 64 or not id:find("^[\33-\126]+$") or id:find('["\\]') then
    headers:replace("x-request-id", "req_" .. headers:get(FRESH_ID))
  end
  note.put(handle, { origin = headers:get("origin") or "" })
end

local function remove_access_control(headers)
  local names = {}
  for name in pairs(headers) do
    if name:lower():find("^access%-control%-") then names[name] = true end
  end
  for name in pairs(names) do headers:remove(name) end
end

local function vary(headers, names)
  local present = {}
  for i = 0, headers:getNumValues("vary") - 1 do present[#present + 1] = headers:getAtIndex("vary", i) end
  if present[1] == "*" then return end
  present[#present + 1] = names
  headers:replace("vary", table.concat(present, ", "))
end

local function retry_after(headers)
  if headers:get(LIMITED) then
    headers:replace("retry-after", tostring(math.max(1, tonumber(headers:get(RESET_S)) or 1)))
  end
  for _, name in ipairs(QUOTA) do headers:remove(name) end
end

-- Says what holds for pages of other origins, and nothing else about them.
function M.finish(handle)
  local headers, noted = handle:headers(), note.all(handle)
  remove_access_control(headers)
  retry_after(headers)
  local names = origins.vary(noted.preflight)
  if names then vary(headers, names) end
  local origin = noted.origin ~= "" and noted.origin or nil
  for name, value in pairs(origins.headers(origin, noted.preflight)) do headers:replace(name:lower(), value) end
end

return M
