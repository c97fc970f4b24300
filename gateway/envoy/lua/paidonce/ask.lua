-- May this request go on, if its token is signed by its issuer? Everything that Envoy's own filter does not look at.
--
-- Envoy checks the signature next, and `pass.lua` says the verdict that is noted here. Whatever goes wrong here ends
-- the request: Envoy itself would let it go on.

local answer = require "paidonce.answer"
local caller_headers = require "paidonce.caller_headers"
local claims = require "paidonce.claims"
local note = require "paidonce.note"
local origins = require "paidonce.origins"
local routes = require "paidonce.routes"
local settings = require "paidonce.settings"
local token = require "paidonce.token"

local M = {}

-- The route names what Envoy does next; the others are read there (gateway/envoy/routes.py).
local ROUTE, TOKEN, SUBJECT = "x-paidonce-route", "x-paidonce-token", "x-paidonce-subject"
local HEAD = "paidonce-head"
-- What stands around method and target, and at the end of the head.
local AROUND_BYTES = #"  HTTP/1.1\r\n\r\n"

local function is_below(path, prefix)
  return prefix == "/" or path == prefix or path:sub(1, #prefix + 1) == prefix .. "/"
end

-- Returns the service whose prefix is the longest that fits, and the resource; nil where there is none.
local function found(target)
  local path, service = target:match("^[^?#]*"), nil
  for _, one in pairs(settings.services) do
    if is_below(path, one.prefix) and (not service or #one.prefix > #service.prefix) then service = one end
  end
  return service, service and routes.find(service.resources, target)
end

local function bearer(headers)
  if headers:getNumValues("authorization") > 1 then
    return nil, { code = "invalid-token", reason = "more than one Authorization line" }
  end
  local line = headers:get("authorization")
  local scheme, rest = (line or ""):match("^([^ ]*) *(.*)$")
  if scheme:lower() ~= "bearer" then return nil, { code = "missing-token", reason = "no bearer token" } end
  return rest
end

-- Returns the principal that the token would name and the token itself; nil and the refusal.
local function read(headers, service)
  local raw, refusal = bearer(headers)
  if not raw then return nil, nil, refusal end
  local parsed, why = token.parse(raw, settings.token_bytes_max)
  if not parsed then return nil, nil, { code = "invalid-token", reason = why } end
  local issuer = type(parsed.payload.iss) == "string" and service.trust[parsed.payload.iss]
  if not issuer then return nil, nil, { code = "invalid-token", reason = "iss: another issuer" } end
  local principal
  principal, why = claims.principal_of(parsed.payload, issuer, os.time(), settings.skew_s, settings.unprintable)
  if not principal then return nil, nil, { code = "invalid-token", reason = why } end
  return principal, raw
end

local function no_method(resource)
  return { verdict = "method-not-allowed", header = "Allow", value = resource.allow, opening = resource.not_allowed }
end

-- Returns what is to be said of the caller once its token is known to be good.
local function verdict(resource, method, principal)
  local rule = routes.rule(resource, method)
  if not rule then return no_method(resource) end
  if routes.allows(rule, principal) then return { verdict = "pass" } end
  local scopes = table.concat(rule.scopes, " ")
  local needed = scopes ~= "" and (', scope="%s"'):format(scopes) or ""
  return {
    verdict = "insufficient-scope",
    header = "WWW-Authenticate", value = 'Bearer error="insufficient_scope"' .. needed,
  }
end

local function ask_public(handle, service, resource)
  local headers = handle:headers()
  headers:remove("authorization")
  note.put(handle, routes.rule(resource, headers:get(":method")) and { verdict = "pass" } or no_method(resource))
  headers:replace(ROUTE, "public")
end

local function ask_caller(handle, service, resource)
  local headers = handle:headers()
  local principal, raw, refusal = read(headers, service)
  if not principal then return refusal end
  note.put(handle, verdict(resource, headers:get(":method"), principal))
  for name, text in pairs(caller_headers.of(service.claims, principal)) do
    if text ~= "" then headers:replace(name:lower(), text) end
  end
  headers:replace(SUBJECT, caller_headers.subject(principal))
  headers:replace(TOKEN, raw)
  headers:replace(ROUTE, "issuer " .. principal.issuer)
  if not service.pass_token then headers:remove("authorization") end
end

local function preflight(handle, resource)
  local headers = handle:headers()
  local permitted = origins.permits(
    resource, headers:get("access-control-request-method"), headers:get("access-control-request-headers"))
  note.put(handle, { answered = true, preflight = permitted and true or false })
  return { preflight = true }
end

-- Returns how many lines repeat the name of one before.
local function repeated(headers)
  local seen, count = {}, 0
  for name in pairs(headers) do
    count, seen[name] = count + (seen[name] and 1 or 0), true
  end
  return count
end

-- Returns how many bytes the head has on the wire, as app/api/heads.py counts them. Envoy counts the header lines, each
-- without the first byte of its end, and their different names, with method and target among them. A line that it
-- drops for its name, or because it is no business of a service, is counted that one byte short.
local function head_bytes(headers)
  local lines_bytes, names = headers:get(HEAD):match("^(%d+) (%d+)$")
  local lines = tonumber(names) - 2 + repeated(headers)
  return tonumber(lines_bytes) + lines + #headers:get(":method") + #headers:get(":path") + AROUND_BYTES
end

-- Returns nothing when the request may go on; else the refusal.
local function decide(handle)
  local headers = handle:headers()
  if head_bytes(headers) > settings.head_bytes_max then return { code = "head-too-large" } end
  -- Two lines with Host, which Envoy makes one.
  if (headers:get(":authority") or ""):find(",", 1, true) then return { code = "bad-request" } end
  local service, resource = found(headers:get(":path"))
  if service then note.put(handle, { service = service.name }) end
  if origins.is_preflight(
    headers:get(":method"), headers:get("origin"), headers:get("access-control-request-method")) then
    return preflight(handle, resource)
  end
  if not resource then return { code = "not-found" } end
  return (resource.public and ask_public or ask_caller)(handle, service, resource)
end

-- Notes the verdict and names the route to it, or ends the request.
function M.ask(handle)
  local fine, refusal = pcall(decide, handle)
  if not fine then
    handle:logErr(tostring(refusal))
    refusal = { code = "internal" }
  end
  if not refusal then return handle:clearRouteCache() end
  if refusal.preflight then return handle:respond({ [":status"] = "204" }, "") end
  return answer.refuse(handle, refusal)
end

return M
