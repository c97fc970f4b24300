-- Is this caller who it says it is? From the Authorization header to the principal, in the order of
-- app/auth/verifier.py: one header line, size, form, issuer, key by `kid`, signature, claims.

local claims = require "paidonce.claims"
local keyset = require "paidonce.keyset"
local rsa = require "paidonce.rsa"
local settings = require "paidonce.settings"
local token = require "paidonce.token"

local M = {}

local function missing()
  return nil, { problem = "missing-token", reason = "no bearer token" }
end

local function invalid(reason)
  return nil, { problem = "invalid-token", reason = reason }
end

-- Returns the token of the one Authorization line.
local function bearer(line)
  if line == nil then return missing() end
  if type(line) == "table" then return invalid("more than one Authorization line") end
  local scheme, rest = line:match("^([^ ]*) *(.*)$")
  if scheme:lower() ~= "bearer" then return missing() end
  return rest
end

local function checked(parsed, issuer)
  local key, status, why = keyset.key(issuer, parsed.kid)
  if not key and status == 503 then return nil, { problem = "key-set-unavailable", reason = why } end
  if not key then return invalid(why) end
  if not rsa.verify(key, parsed.signed, parsed.signature) then return invalid("signature: not the issuer's") end
  local principal
  principal, why = claims.principal_of(
    parsed.payload, issuer, ngx.now(), settings.skew_s, settings.unprintable)
  if not principal then return invalid(why) end
  return principal
end

-- Returns who calls the service; or nil and {problem, reason}: which problem to answer, and what to log.
-- `authorization` is the header's value, a table when there are several lines.
function M.verify(service, authorization)
  local raw, refused = bearer(authorization)
  if not raw then return nil, refused end
  local parsed, why = token.parse(raw, settings.token_bytes_max)
  if not parsed then return invalid(why) end
  local issuer = type(parsed.payload.iss) == "string" and service.trust[parsed.payload.iss]
  if not issuer then return invalid("iss: another issuer") end
  return checked(parsed, issuer)
end

return M
