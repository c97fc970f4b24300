-- Is this text a token that we are ready to check? The same rules as app/auth/token.py, before any key is touched.

local base64 = require "ngx.base64"
local strict_json = require "paidonce.strict_json"

local M = {}

M.ALGORITHM = "RS256"
local TYPES = { ["at+jwt"] = true, ["application/at+jwt"] = true, ["jwt"] = true, ["application/jwt"] = true }
-- They change how the token is to be read, or bring a key along: refused, not read without them.
local REFUSED_MEMBERS = { "crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc" }
-- Characters of a key id; Keycloak's have 43.
local KID_CHARS_MAX = 128

-- Returns the bytes of the segment; nil unless it is their one canonical spelling in base64url.
local function decoded(segment)
  if not segment:find("^[%w_-]+$") then return nil end
  local bytes = base64.decode_base64url(segment)
  if not bytes or base64.encode_base64url(bytes) ~= segment then return nil end
  return bytes
end

local function object_of(segment, name)
  local bytes = decoded(segment)
  if not bytes then return nil, name .. ": not canonical base64url" end
  local object, why = strict_json.parse_object(bytes)
  if not object then return nil, name .. ": " .. why end
  return object
end

-- Tells whether `value` is a key id that we accept: 1 to 128 printable ASCII characters.
function M.is_key_id(value)
  return type(value) == "string" and #value <= KID_CHARS_MAX and value:find("^[\32-\126]+$") ~= nil
end

-- Returns why the header is not that of an access token of ours; nil when it is.
local function fault(header)
  if header.alg ~= M.ALGORITHM then return "header: alg is not RS256" end
  if type(header.typ) ~= "string" or not TYPES[header.typ:lower()] then
    return "header: typ is not that of an access token"
  end
  for _, name in ipairs(REFUSED_MEMBERS) do
    if header[name] ~= nil then return "header: a member that we do not allow" end
  end
  if not M.is_key_id(header.kid) then return "header: kid is not a short string" end
end

-- Returns {kid, payload, signed, signature} of a well-formed token, whose signature nobody has checked yet; or nil
-- and the rule that it breaks.
function M.parse(raw, bytes_max)
  if #raw > bytes_max then return nil, "too long" end
  local first, second, third = raw:match("^([^.]*)%.([^.]*)%.([^.]*)$")
  if not first then return nil, "not three segments" end
  local header, why = object_of(first, "header")
  if not header then return nil, why end
  local payload
  payload, why = object_of(second, "payload")
  if not payload then return nil, why end
  local signature = decoded(third)
  if not signature then return nil, "signature: not canonical base64url" end
  why = fault(header)
  if why then return nil, why end
  return { kid = header.kid, payload = payload, signed = first .. "." .. second, signature = signature }
end

return M
