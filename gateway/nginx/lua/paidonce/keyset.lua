-- Which key has this id, right now? One issuer's key set in the shared dictionary, for all workers.
--
-- A known id never waits. An unknown one causes at most one fetch per cool-down, for all requests of all workers
-- together, because anyone can make up key ids; those requests wait for it, because an issuer may sign with a new
-- key at once (docs/design.md, "Who may call").

local cjson = require "cjson.safe"
local monotonic = require "paidonce.monotonic"
local refresher = require "paidonce.refresher"
local rsa = require "paidonce.rsa"

local M = {}

-- Requests with unknown key ids that may wait at once; more of them are an attack, and are told to come again.
local WAITERS_MAX = 64
-- Seconds between two looks at whether a fetch has ended: another worker may run it.
local LOOK_S = 0.02

local dict = ngx.shared.paidonce_keys
-- issuer -> {revision, kid -> key}: the set as OpenSSL has it, parsed once in each worker.
local parsed = {}

local function keys_of(issuer)
  local revision = dict:get("revision:" .. issuer.issuer)
  local known = parsed[issuer.issuer]
  if known and known.revision == revision then return known.keys end
  local keys = {}
  for kid, der in pairs(cjson.decode(dict:get("keys:" .. issuer.issuer) or "{}")) do
    keys[kid] = rsa.key(ngx.decode_base64(der))
  end
  parsed[issuer.issuer] = { revision = revision, keys = keys }
  return keys
end

-- Tells whether there is a set that may be used.
function M.usable(issuer)
  local fetched_at = dict:get("fetched_at:" .. issuer.issuer)
  return fetched_at ~= nil and monotonic() - fetched_at < issuer.stale_s
end

local function wait_for(condition, most_s)
  local deadline = monotonic() + most_s
  while not condition() and monotonic() < deadline do ngx.sleep(LOOK_S) end
end

-- Waits for the fetch that all who ask now share: the one under way, or the next after the cool-down.
local function ask(issuer)
  local failures = dict:get("failures:" .. issuer.issuer) or 0
  if not refresher.is_fetching(issuer) and failures == 0 then
    wait_for(function() return refresher.is_fetching(issuer) or refresher.is_cool(issuer) end, issuer.cooldown_s)
  end
  if not refresher.is_fetching(issuer) and refresher.may_ask(issuer) then refresher.start(issuer) end
  wait_for(function() return not refresher.is_fetching(issuer) end, refresher.FETCH_S)
end

local function asked(issuer)
  local name = "waiting:" .. issuer.issuer
  -- The number ends with the last of them, or by itself should a worker die with requests that wait.
  local waiting = dict:incr(name, 1, 0, 2 * (refresher.FETCH_S + issuer.cooldown_s))
  local may_wait = waiting and waiting <= WAITERS_MAX
  if may_wait then ask(issuer) end
  dict:incr(name, -1, 0)
  return may_wait
end

-- Returns the key under `kid`; or nil, the status to answer, and why.
function M.key(issuer, kid)
  if M.usable(issuer) and keys_of(issuer)[kid] then return keys_of(issuer)[kid] end
  if not asked(issuer) then return nil, 503, "too many requests wait for an unknown key" end
  if not M.usable(issuer) then return nil, 503, "no key set" end
  local key = keys_of(issuer)[kid]
  if key then return key end
  if (dict:get("failures:" .. issuer.issuer) or 0) > 0 then return nil, 503, "the issuer cannot be asked" end
  return nil, 401, "kid: unknown to the issuer"
end

return M
