-- Which keys does the issuer sign with, and for how long? One fetch, by its address or by OpenID discovery.

local http_get = require "paidonce.http_get"
local jwks = require "paidonce.jwks"
local monotonic = require "paidonce.monotonic"
local strict_json = require "paidonce.strict_json"

local M = {}

-- Seconds for the whole fetch, connecting included: requests wait for it.
M.FETCH_S = 3

-- Returns where the issuer says that its key set is (OpenID Connect Discovery 1.0, section 4.3); or nil and why.
local function discovered(issuer, deadline)
  local url = issuer:gsub("/+$", "") .. "/.well-known/openid-configuration"
  local answer, why = http_get.get(url, { deadline = deadline, bytes_max = jwks.BYTES_MAX })
  if not answer then return nil, why end
  local document
  document, why = strict_json.parse_object(answer.body)
  if not document then return nil, why end
  if document.issuer ~= issuer then return nil, "the discovery document is another issuer's" end
  if type(document.jwks_uri) ~= "string" then return nil, "the discovery document has no jwks_uri" end
  return document.jwks_uri
end

-- Returns `max-age`, 0 for an answer that may not be kept, nil when nothing is said (RFC 9111, section 5.2.2).
local function max_age(cache_control)
  local age
  for directive in (cache_control or ""):lower():gmatch("[^,%s]+") do
    if directive == "no-store" or directive == "no-cache" then return 0 end
    -- 30 years in seconds have ten digits; a longer number is a mistake.
    local digits = directive:match("^max%-age=(%d+)$")
    if digits and #digits < 10 then age = age or tonumber(digits) end
  end
  return age
end

-- Returns {body, keys, max_age_s}; or nil and why. `issuer` has `issuer` and perhaps `jwks_url`.
function M.fetch(issuer)
  local deadline = monotonic() + M.FETCH_S
  local url, why = issuer.jwks_url
  if not url then url, why = discovered(issuer.issuer, deadline) end
  if not url then return nil, why end
  local answer
  answer, why = http_get.get(url, { deadline = deadline, bytes_max = jwks.BYTES_MAX })
  if not answer then return nil, why end
  local keys
  keys, why = jwks.usable_keys(answer.body)
  if not keys then return nil, why end
  return { body = answer.body, keys = keys, max_age_s = max_age(answer.headers["cache-control"]) }
end

return M
