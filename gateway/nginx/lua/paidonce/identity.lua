-- How do the headers that name the caller reach a service? nginx sets them on every request to one, empty ones not at
-- all, so none from outside arrives.

local caller_headers = require "paidonce.caller_headers"

local M = {}

-- Puts the claims into the variables that the location's proxy_set_header lines read.
function M.put(service, principal)
  for variable, text in pairs(caller_headers.of(service.claims, principal)) do ngx.var[variable] = text end
end

return M
