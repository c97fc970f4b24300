-- Which route is this? Found by the path as it was sent, which is also the path that the service gets.
--
-- nginx chooses a location by a path that it has decoded and straightened; a service may read the same bytes
-- otherwise. So a path that could be read in two ways is no route at all: dot segments, empty segments, an encoded
-- slash, broken percent-encoding, what is not UTF-8, a fragment. A service may also drop what follows a semicolon
-- (RFC 3986, section 3.3, as Java's servers do): `..;` is a dot segment to it.

local utf8 = require "paidonce.utf8"

local M = {}

local STRAIGHTENED = { [""] = true, ["."] = true, [".."] = true }

local function decoded(segment)
  if segment:find("%%%x?[^%x]") or segment:find("%%%x?$") then return nil end
  local text = segment:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
  if STRAIGHTENED[text:match("^[^;]*")] or text:find("[%z\1-\31/\\\127]") or not utf8.valid(text) then return nil end
  return text
end

-- Returns the decoded segments of a request's target; nil for a path that could be read in two ways.
local function segments_of(target)
  local path = target:match("^/([^?]*)")
  if not path or target:find("#", 1, true) then return nil end
  local segments = {}
  for segment in (path .. "/"):gmatch("([^/]*)/") do
    local text = decoded(segment)
    if not text then return nil end
    segments[#segments + 1] = text
  end
  return segments
end

-- A step of a template is a word, or true for whatever the caller names there.
local function fits(steps, segments)
  if #steps ~= #segments then return false end
  for i, step in ipairs(steps) do
    if step ~= true and step ~= segments[i] then return false end
  end
  return true
end

-- Returns the resource {steps, methods, options, allow, not_allowed, public} that the target names; nil when there is none.
function M.find(resources, target)
  local segments = segments_of(target)
  if not segments then return nil end
  for _, resource in ipairs(resources) do
    if fits(resource.steps, segments) then return resource end
  end
end

-- Returns the rule {scopes, roles} of a method of the resource; HEAD goes with GET. nil: there is none.
function M.rule(resource, method)
  if method == "OPTIONS" then return resource.options end
  return resource.methods[method == "HEAD" and "GET" or method]
end

-- Tells whether the principal may: all of the scopes, and one of the roles unless there are none.
function M.allows(rule, principal)
  for _, scope in ipairs(rule.scopes) do
    if not principal.has_scope[scope] then return false end
  end
  for _, role in ipairs(rule.roles) do
    if principal.has_role[role] then return true end
  end
  return #rule.roles == 0
end

return M
