-- Which keys of an issuer's answer may check signatures? The same rules as `usable_keys` in app/auth/jwks.py.

local base64 = require "ngx.base64"
local rsa = require "paidonce.rsa"
local strict_json = require "paidonce.strict_json"
local token = require "paidonce.token"

local M = {}

-- Bytes of a key set: 40 RSA keys with certificates; an issuer has two or three.
M.BYTES_MAX = 65536
local KEYS_MAX = 100
local KEY_BITS_MIN = 2048
-- A check takes time with the cube of the size: 8192 bits take about 0.4 ms.
local KEY_BITS_MAX = 8192
-- An odd number of 17 bits is 65537 at least.
local EXPONENT_BITS_MIN = 17

local function holds(list, wanted)
  if not strict_json.is_array(list) then return false end
  for _, one in ipairs(list) do
    if one == wanted then return true end
  end
  return false
end

local function is_for_signatures(jwk)
  return strict_json.is_object(jwk)
    and jwk.kty == "RSA"
    and token.is_key_id(jwk.kid)
    and (jwk.use == nil or jwk.use == "sig")
    and (jwk.alg == nil or jwk.alg == token.ALGORITHM)
    and (jwk.key_ops == nil or holds(jwk.key_ops, "verify"))
end

-- Returns the number's bytes, big-endian without leading zeros; nil when it is none.
local function number(text)
  if type(text) ~= "string" or not text:find("^[%w_-]+$") then return nil end
  local bytes = base64.decode_base64url(text)
  bytes = bytes and bytes:gsub("^%z+", "")
  return bytes ~= "" and bytes or nil
end

-- Returns the key in DER; nil for one that we do not use.
local function imported(jwk)
  local modulus, exponent = number(jwk.n), number(jwk.e)
  -- A private key that was published can be anyone's.
  if jwk.d ~= nil or not modulus or not exponent then return nil end
  local size = rsa.bits(modulus)
  if size < KEY_BITS_MIN or size > KEY_BITS_MAX then return nil end
  if rsa.bits(exponent) < EXPONENT_BITS_MIN or exponent:byte(-1) % 2 == 0 then return nil end
  local der = rsa.der(modulus, exponent)
  return pcall(rsa.key, der) and der or nil
end

local function candidates_of(body)
  local document, why = strict_json.parse_object(body)
  if not document then return nil, why end
  if not strict_json.is_array(document.keys) or #document.keys > KEYS_MAX then
    return nil, "no list of keys, or too many"
  end
  local candidates, count = {}, {}
  for _, jwk in ipairs(document.keys) do
    if is_for_signatures(jwk) then
      candidates[#candidates + 1] = jwk
      count[jwk.kid] = (count[jwk.kid] or 0) + 1
    end
  end
  return candidates, count
end

-- Returns kid -> key in DER, none where the issuer has no key that we use; or nil and why the answer is no key set.
function M.usable_keys(body)
  local candidates, count = candidates_of(body)
  if not candidates then return nil, count end
  local keys = {}
  for _, jwk in ipairs(candidates) do
    -- Of two keys under one id nobody can say which was meant: neither is used.
    local der = count[jwk.kid] == 1 and imported(jwk)
    if der then
      keys[jwk.kid] = der
    else
      ngx.log(ngx.ERR, "key of the issuer ignored, kid ", jwk.kid)
    end
  end
  return keys
end

return M
