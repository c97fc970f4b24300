-- How does the gateway say no? With the problem document that the API itself would answer.

local cjson = require "cjson"
local settings = require "paidonce.settings"

local M = {}

-- Ends the request with the problem of this code; `headers` are added to the problem's own, and `opening` is a
-- document with a detail of its own, without the last brace.
function M.problem(code, headers, opening)
  local problem = settings.problems[code]
  ngx.status = problem.status
  for name, value in pairs(problem.headers) do ngx.header[name] = value end
  for name, value in pairs(headers or {}) do ngx.header[name] = value end
  ngx.header["Content-Type"] = "application/problem+json"
  ngx.header["X-Content-Type-Options"] = "nosniff"
  ngx.header["Cache-Control"] = "private, no-cache"
  ngx.header["X-Request-Id"] = ngx.var.paidonce_request_id
  local body = ('%s,"request_id":%s}'):format(opening or problem.opening, cjson.encode(ngx.var.paidonce_request_id))
  ngx.header["Content-Length"] = #body
  ngx.send_headers()
  if ngx.req.get_method() ~= "HEAD" then ngx.print(body) end
  return ngx.exit(ngx.HTTP_OK)
end

return M
