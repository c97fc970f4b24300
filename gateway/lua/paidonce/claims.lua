-- What does a well-signed token say, and is it meant for this service, now? The same rules as app/auth/claims.py.

local strict_json = require "paidonce.strict_json"
local utf8 = require "paidonce.utf8"

local M = {}

-- Payload `typ` of an access token, where an issuer writes one.
local ACCESS_TYPES = { ["bearer"] = true, ["at+jwt"] = true }
-- They stand in ID tokens, logout tokens, and tokens that are bound to a key whose proof we do not check.
local REFUSED_CLAIMS = { "at_hash", "c_hash", "s_hash", "events", "cnf" }
-- The end of the year 9999, the last second that the API can hold.
local TIME_MAX = 253402300799
local TENANT_CHARS_MAX = 64
local SUB_CHARS_MAX = 255
-- 2^53, up to which every reader of JSON counts alike.
local AMOUNT_MAX = 9007199254740992

-- Whether each of `list` is a string, and one of them is in the set `wanted`.
local function names_one_of(list, wanted)
  local found = false
  for _, name in ipairs(list) do
    if type(name) ~= "string" then return false end
    found = found or wanted[name] ~= nil
  end
  return found
end

local function purpose_fault(payload, issuer)
  if payload.iss ~= issuer.issuer then return "iss: another issuer" end
  local audiences = strict_json.is_array(payload.aud) and payload.aud or { payload.aud }
  if not names_one_of(audiences, issuer.audiences) then return "aud: not for us" end
  local kind = payload.typ == nil and "Bearer" or payload.typ
  if type(kind) ~= "string" or not ACCESS_TYPES[kind:lower()] then return "typ: not an access token" end
  for _, name in ipairs(REFUSED_CLAIMS) do
    if payload[name] ~= nil then return "a claim of another kind of token" end
  end
end

local function is_seconds(value)
  return type(value) == "number" and value >= 0 and value <= TIME_MAX
end

local function time_fault(payload, now, skew_s)
  for _, name in ipairs({ "exp", "nbf", "iat" }) do
    local value = payload[name]
    if (name == "exp" or value ~= nil) and not is_seconds(value) then
      return name .. ": not an integer number of seconds"
    end
  end
  if now >= payload.exp + skew_s then return "exp: expired" end
  for _, name in ipairs({ "nbf", "iat" }) do
    if payload[name] and payload[name] > now + skew_s then return name .. ": in the future" end
  end
end

-- Returns what stands at `claim`, whose dots lead into objects; a claim named so itself comes first.
local function at(payload, claim)
  if payload[claim] ~= nil then return payload[claim] end
  local found = payload
  for name in (claim .. "."):gmatch("([^.]*)%.") do
    if not strict_json.is_object(found) then return nil end
    found = found[name]
  end
  return found
end

local function short_text(value, chars_max, unprintable)
  if type(value) ~= "string" or value == "" or value:find("^ +$") then return nil end
  local length = utf8.printable_length(value, unprintable)
  return length and length <= chars_max and value or nil
end

local function tenant_of(payload, issuer)
  local name = issuer.tenant_claim
  local tenant = short_text(at(payload, name), TENANT_CHARS_MAX, {})
  if not tenant or tenant:find("[^\33-\126]") then return nil, name .. ": not visible ASCII, or too long" end
  if issuer.tenants and not issuer.tenants[tenant] then
    return nil, name .. ": not one that this issuer may speak for"
  end
  return tenant
end

local function set_of(names)
  local set = {}
  for _, name in ipairs(names) do
    if type(name) ~= "string" then return nil end
    set[name] = true
  end
  return set
end

-- Returns the scopes in the order of the token, and as a set.
local function scopes_of(value)
  local list = {}
  for scope in (value or ""):gmatch("[^ ]+") do list[#list + 1] = scope end
  return list, set_of(list)
end

local function roles_of(value)
  if value == nil then return {}, {} end
  if not strict_json.is_array(value) then return nil end
  return value, set_of(value)
end

-- Returns whether the claim is fine, and its minor units where there are any.
local function amount_of(value)
  if value == nil then return true end
  return type(value) == "number" and value >= 0 and value <= AMOUNT_MAX, value
end

-- Returns whom the claims name: {issuer, sub, tenant, scopes, has_scope, roles, has_role, refund_limit}; or nil and
-- the rule that they break. `now` is in seconds since 1970; `unprintable` as in utf8.lua.
function M.principal_of(payload, issuer, now, skew_s, unprintable)
  local why = purpose_fault(payload, issuer) or time_fault(payload, now, skew_s)
  if why then return nil, why end
  local sub = short_text(payload.sub, SUB_CHARS_MAX, unprintable)
  if not sub then return nil, "sub: not a short text" end
  local tenant, tenant_fault = tenant_of(payload, issuer)
  if not tenant then return nil, tenant_fault end
  if payload.scope ~= nil and type(payload.scope) ~= "string" then return nil, "scope: not one string" end
  local scopes, has_scope = scopes_of(payload.scope)
  local roles, has_role = roles_of(at(payload, issuer.roles_claim))
  if not has_role then return nil, "roles: not a list of strings" end
  local fine, refund_limit = amount_of(at(payload, issuer.refund_limit_claim))
  if not fine then return nil, issuer.refund_limit_claim .. ": not an integer number of minor units" end
  return {
    issuer = issuer.issuer, sub = sub, tenant = tenant, refund_limit = refund_limit,
    scopes = scopes, has_scope = has_scope, roles = roles, has_role = has_role,
  }
end

return M
