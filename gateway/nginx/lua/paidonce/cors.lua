-- How does an answer tell a page of another origin what it may? Each Access-Control header once, whoever answers.

local origins = require "paidonce.origins"

local M = {}

-- Tells whether a browser asks what it may send; it sends no token with that.
function M.is_preflight()
  return origins.is_preflight(
    ngx.req.get_method(), ngx.var.http_origin, ngx.var.http_access_control_request_method)
end

-- Answers a preflight for the resource (nil: there is none).
function M.preflight(resource)
  ngx.status = 204
  ngx.ctx.preflight = origins.permits(
    resource, ngx.var.http_access_control_request_method, ngx.var.http_access_control_request_headers)
  return ngx.exit(204)
end

local function vary(names)
  local present = ngx.header["Vary"]
  if type(present) == "table" then present = table.concat(present, ", ") end
  if present ~= "*" then ngx.header["Vary"] = present and present .. ", " .. names or names end
end

-- Whatever answers, a service or the gateway: removes what it says about other origins, and says what holds.
function M.filter()
  for name in pairs(ngx.resp.get_headers(0)) do
    if name:lower():find("^access%-control%-") then ngx.header[name] = nil end
  end
  local names = origins.vary(ngx.ctx.preflight)
  if names then vary(names) end
  for name, value in pairs(origins.headers(ngx.var.http_origin, ngx.ctx.preflight)) do ngx.header[name] = value end
end

return M
