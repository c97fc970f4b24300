-- Which pages of other origins may call, and see what? By allow-lists; each Access-Control header once.

local settings = require "paidonce.settings"

local M = {}

-- Headers that any request may have (the Fetch standard, "CORS-safelisted request-header").
local SAFE = { ["accept"] = true, ["accept-language"] = true, ["content-language"] = true, ["content-type"] = true }

local function allowed_origin()
  local origin = ngx.var.http_origin
  if not origin then return nil end
  local origins = settings.cors.origins
  if origins[origin] then return origin end
  return origins["*"] and "*" or nil
end

local function vary(names)
  local present = ngx.header["Vary"]
  if type(present) == "table" then present = table.concat(present, ", ") end
  if present ~= "*" then ngx.header["Vary"] = present and present .. ", " .. names or names end
end

local function headers_are_allowed(wanted)
  for name in wanted:lower():gmatch("[^,%s]+") do
    if not SAFE[name] and not settings.cors.request_headers[name] then return false end
  end
  return true
end

-- Tells whether a browser asks what it may send; it sends no token with that.
function M.is_preflight()
  return next(settings.cors.origins) ~= nil
    and ngx.req.get_method() == "OPTIONS"
    and ngx.var.http_origin ~= nil
    and ngx.var.http_access_control_request_method ~= nil
end

-- Answers a preflight for the resource (nil: there is none); whoever asks for more than is allowed gets no
-- permission, which the browser takes for a no.
function M.preflight(resource)
  local method = ngx.var.http_access_control_request_method
  local wanted = ngx.var.http_access_control_request_headers or ""
  local known = resource and (resource.methods[method] or method == "HEAD" and resource.methods.GET)
  ngx.status = 204
  ngx.ctx.preflight = known and settings.cors.methods[method] and headers_are_allowed(wanted) or false
  return ngx.exit(204)
end

local function permit()
  ngx.header["Access-Control-Allow-Methods"] = settings.cors.methods_line
  ngx.header["Access-Control-Allow-Headers"] = settings.cors.request_headers_line
  ngx.header["Access-Control-Max-Age"] = settings.cors.max_age_s
end

-- Whatever answers, a service or the gateway: removes what it says about other origins, and says what holds.
function M.filter()
  for name in pairs(ngx.resp.get_headers(0)) do
    if name:lower():find("^access%-control%-") then ngx.header[name] = nil end
  end
  local preflight = ngx.ctx.preflight
  local origin = preflight ~= false and allowed_origin() or nil
  if next(settings.cors.origins) then
    vary(preflight == nil and "Origin"
      or "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
  end
  if not origin then return end
  ngx.header["Access-Control-Allow-Origin"] = origin
  if settings.cors.credentials then ngx.header["Access-Control-Allow-Credentials"] = "true" end
  if preflight then return permit() end
  ngx.header["Access-Control-Expose-Headers"] = settings.cors.exposed_line
end

return M
