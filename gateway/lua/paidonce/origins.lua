-- Which pages of other origins may call, and see what? By the allow-lists of the route file (the Fetch standard).

local settings = require "paidonce.settings"

local M = {}

-- Headers that any request may have (the Fetch standard, "CORS-safelisted request-header").
local SAFE = { ["accept"] = true, ["accept-language"] = true, ["content-language"] = true, ["content-type"] = true }

local function allowed(origin)
  local origins = settings.cors.origins
  if origins[origin] then return origin end
  return origins["*"] and "*" or nil
end

local function headers_are_allowed(wanted)
  for name in wanted:lower():gmatch("[^,%s]+") do
    if not SAFE[name] and not settings.cors.request_headers[name] then return false end
  end
  return true
end

-- Tells whether a browser asks what it may send; it sends no token with that. `asked_method` is what stands in
-- Access-Control-Request-Method.
function M.is_preflight(method, origin, asked_method)
  return next(settings.cors.origins) ~= nil and method == "OPTIONS" and origin ~= nil and asked_method ~= nil
end

-- Tells whether a preflight for the resource (nil: there is none) gets a yes; `wanted` are the headers it asks for.
-- Whoever asks for more than is allowed gets no permission, which the browser takes for a no.
function M.permits(resource, asked_method, wanted)
  local known = resource and (resource.methods[asked_method] or asked_method == "HEAD" and resource.methods.GET)
  return known and settings.cors.methods[asked_method] and headers_are_allowed(wanted or "") or false
end

-- Returns what an answer's Vary has to name too; nil where no answer depends on who asks.
function M.vary(preflight)
  if not next(settings.cors.origins) then return nil end
  return preflight == nil and "Origin" or "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
end

-- Returns the headers that an answer to this origin has; `preflight` nil: it is an answer to no preflight, false: to
-- one that was refused.
function M.headers(origin, preflight)
  local found = preflight ~= false and origin and allowed(origin)
  if not found then return {} end
  local cors = settings.cors
  local headers = { ["Access-Control-Allow-Origin"] = found }
  if cors.credentials then headers["Access-Control-Allow-Credentials"] = "true" end
  if preflight then
    headers["Access-Control-Allow-Methods"] = cors.methods_line
    headers["Access-Control-Allow-Headers"] = cors.request_headers_line
    headers["Access-Control-Max-Age"] = tostring(cors.max_age_s)
  else
    headers["Access-Control-Expose-Headers"] = cors.exposed_line
  end
  return headers
end

return M
