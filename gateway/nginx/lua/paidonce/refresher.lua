-- When is an issuer's key set fetched again, and by whom? By one worker at a time, ahead of the set's end.
--
-- A timer looks in each worker; the lock in the shared dictionary lets one of them fetch. On failure the old set
-- stays in use, and the next fetch is put off by exponential back-off with full jitter.

local cjson = require "cjson.safe"
local disk = require "paidonce.disk"
local fetch = require "paidonce.fetch"
local jwks = require "paidonce.jwks"
local monotonic = require "paidonce.monotonic"

local M = {}

M.FETCH_S = fetch.FETCH_S
-- Share of a set's time after which it is fetched again: what is left is time for an issuer to come back.
local REFRESH_AT = 0.8
-- Seconds that Cache-Control may ask for, at least and at most.
local MAX_AGE_LEAST_S, MAX_AGE_MOST_S = 300, 21600
-- Seconds before the first repetition of a failed fetch, and between two at most; full jitter below that.
local BACKOFF_FIRST_S, BACKOFF_MOST_S = 1, 60
-- Seconds between looks at whether a fetch is due.
local TICK_S = 1
-- Seconds after which the lock of a worker that died is free: longer than any fetch takes.
local LOCK_S = 2 * fetch.FETCH_S

local dict = ngx.shared.paidonce_keys

local function get(name, issuer)
  return dict:get(name .. ":" .. issuer.issuer)
end

local function set(name, issuer, value)
  local fine, why = dict:set(name .. ":" .. issuer.issuer, value)
  if not fine then ngx.log(ngx.ERR, "the dictionary of keys is full (", why, "): make paidonce_keys larger") end
end

function M.is_fetching(issuer)
  return get("fetching", issuer) ~= nil
end

-- Tells whether the cool-down since the last fetch is over.
function M.is_cool(issuer)
  return monotonic() >= (get("asked_at", issuer) or -math.huge) + issuer.cooldown_s
end

-- Tells whether an unknown key id may cause a fetch: after a failure only when the back-off is over.
function M.may_ask(issuer)
  if (get("failures", issuer) or 0) > 0 then return monotonic() >= (get("due_at", issuer) or 0) end
  return M.is_cool(issuer)
end

local function adopt(issuer, keys, fetched_at, max_age_s)
  local age_s = max_age_s and math.max(max_age_s, MAX_AGE_LEAST_S) or issuer.cache_s
  local ders = {}
  for kid, der in pairs(keys) do ders[kid] = ngx.encode_base64(der) end
  set("keys", issuer, cjson.encode(ders))
  -- After the keys: a worker that sees the new number must find the new set.
  dict:incr("revision:" .. issuer.issuer, 1, 0)
  set("due_at", issuer, fetched_at + REFRESH_AT * math.min(age_s, MAX_AGE_MOST_S))
  if next(keys) then
    set("fetched_at", issuer, fetched_at)
  else
    dict:delete("fetched_at:" .. issuer.issuer)
  end
end

local function put_off(issuer, why)
  local failures = get("failures", issuer) or 0
  local most_s = math.min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ^ math.min(failures, 30))
  set("due_at", issuer, monotonic() + math.random() * most_s)
  set("failures", issuer, failures + 1)
  dict:incr("fetches_failed:" .. issuer.issuer, 1, 0)
  ngx.log(ngx.ERR, "key set of ", issuer.issuer, " not fetched: ", why)
end

local function fetch_now(_, issuer)
  -- The age counts from before the request: an answer is as old as the question.
  local asked_at, wall = monotonic(), ngx.time()
  set("asked_at", issuer, asked_at)
  local fine, fetched, why = pcall(fetch.fetch, issuer)
  if fine and fetched then adopt(issuer, fetched.keys, asked_at, fetched.max_age_s) end
  if fine and fetched and next(fetched.keys) then
    set("failures", issuer, 0)
    dict:incr("fetches_good:" .. issuer.issuer, 1, 0)
  elseif fine and fetched then
    -- The issuer has spoken: keys that it took away work no longer, be they its last ones.
    put_off(issuer, "no usable key")
  else
    put_off(issuer, fine and why or fetched)
  end
  -- The waiters go on before the slow disk is written.
  dict:delete("fetching:" .. issuer.issuer)
  if fine and fetched and issuer.folder then
    disk.save(issuer.folder, {
      issuer = issuer.issuer, body = fetched.body, fetched_at = wall, max_age_s = fetched.max_age_s,
    })
  end
end

-- Begins a fetch, unless another worker just did; nobody waits for it here.
function M.start(issuer)
  if not dict:add("fetching:" .. issuer.issuer, ngx.worker.pid(), LOCK_S) then return end
  set("asked_at", issuer, monotonic())
  -- In a timer: a client that gives up must not end the fetch for the others.
  local fine, why = ngx.timer.at(0, fetch_now, issuer)
  if not fine then
    dict:delete("fetching:" .. issuer.issuer)
    ngx.log(ngx.ERR, "no timer for a fetch: ", why)
  end
end

local function restore(issuer)
  local kept = issuer.folder and disk.load(issuer.folder, issuer.issuer)
  if not kept then return end
  local age_s = ngx.time() - kept.fetched_at
  -- A clock was set: nobody can say how old it is.
  if age_s < 0 then return end
  local keys = jwks.usable_keys(kept.body)
  if keys and next(keys) then adopt(issuer, keys, monotonic() - age_s, tonumber(kept.max_age_s)) end
end

local function tick(premature, issuers)
  if premature then return end
  for _, issuer in ipairs(issuers) do
    if monotonic() >= (get("due_at", issuer) or -math.huge) then M.start(issuer) end
  end
end

-- Takes every set from disk that no worker has yet, and begins to look after them all.
function M.begin(issuers)
  math.randomseed(ngx.worker.pid() + ngx.now() * 1000)
  for _, issuer in ipairs(issuers) do
    if get("fetched_at", issuer) == nil then restore(issuer) end
  end
  ngx.timer.at(0, tick, issuers)
  ngx.timer.every(TICK_S, tick, issuers)
end

return M
