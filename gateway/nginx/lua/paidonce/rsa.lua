-- Did the holder of this key sign these bytes? RSASSA-PKCS1-v1_5 with SHA-256, by OpenSSL (lua-luaossl).

local digest = require "openssl.digest"
local pkey = require "openssl.pkey"

local char, floor = string.char, math.floor

local M = {}

-- AlgorithmIdentifier of rsaEncryption with NULL parameters (RFC 3279, section 2.3.1).
local RSA_ENCRYPTION = "\48\13\6\9\42\134\72\134\247\13\1\1\1\5\0"
local INTEGER, BIT_STRING, SEQUENCE = 0x02, 0x03, 0x30

-- One element in DER: tag, length, content.
local function element(tag, content)
  local length, octets = #content, ""
  if length < 0x80 then return char(tag, length) .. content end
  while length > 0 do
    octets, length = char(length % 256) .. octets, floor(length / 256)
  end
  return char(tag, 0x80 + #octets) .. octets .. content
end

local function integer(bytes)
  bytes = bytes:gsub("^%z+", "")
  -- A first bit that is set would make it negative.
  return element(INTEGER, bytes:byte() >= 0x80 and "\0" .. bytes or bytes)
end

-- Returns the public key of modulus and exponent (big-endian bytes) as SubjectPublicKeyInfo in DER.
function M.der(modulus, exponent)
  local key = element(SEQUENCE, integer(modulus) .. integer(exponent))
  return element(SEQUENCE, RSA_ENCRYPTION .. element(BIT_STRING, "\0" .. key))
end

-- Returns how many bits the number has: big-endian bytes without a leading zero.
function M.bits(bytes)
  local _, exponent = math.frexp(bytes:byte())
  return 8 * (#bytes - 1) + exponent
end

-- Returns the key; raises what OpenSSL says about one that it cannot read.
function M.key(der)
  return pkey.new(der, "DER")
end

-- Tells whether `signature` is the key's own over `signed`; whatever the library throws is no signature.
function M.verify(key, signed, signature)
  local fine, good = pcall(function() return key:verify(signature, digest.new("sha256"):update(signed)) end)
  return fine and good == true
end

return M
