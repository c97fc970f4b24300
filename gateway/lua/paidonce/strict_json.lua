-- Is this JSON that every reader understands alike? The same rules as app/auth/strict_json.py.
--
-- lua-cjson takes the last of two members with one name, reads NaN, and turns 1.5 and 15e-1 and 2 into one kind
-- of number; here a duplicate is refused, and an integer is told from another number by how it is written.

local utf8 = require "paidonce.utf8"

local byte, find, sub, char = string.byte, string.find, string.sub, string.char

local M = {}

-- Levels of arrays and objects; an access token needs 4 (Keycloak's resource_access).
M.DEPTH_MAX = 8
-- What JSON's null is here, and a number that is not written as an integer.
M.NULL = setmetatable({}, { __tostring = function() return "null" end })
M.FRACTION = setmetatable({}, { __tostring = function() return "a fraction" end })

local OBJECT, ARRAY = {}, {}
local LITERALS = { { "true", true }, { "false", false }, { "null", M.NULL } }
local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local read_value

local function refuse(why)
  -- A table, so that the reason arrives without file and line.
  error({ reason = why }, 0)
end

local function after_blanks(text, at)
  return find(text, "[^ \t\n\r]", at) or #text + 1
end

-- Returns the code unit of the escape \uXXXX whose digits begin at `at`.
local function code_unit(text, at)
  local digits = sub(text, at, at + 3)
  if not find(digits, "^%x%x%x%x$") then refuse("a bad escape") end
  return tonumber(digits, 16)
end

-- Returns the character of the escape at `at` (behind the backslash), and where the text goes on.
local function unescaped(text, at)
  local kind = sub(text, at, at)
  if ESCAPES[kind] then return ESCAPES[kind], at + 1 end
  if kind ~= "u" then refuse("a bad escape") end
  local unit, next_at = code_unit(text, at + 1), at + 5
  if unit >= 0xD800 and unit <= 0xDBFF and sub(text, next_at, next_at + 1) == "\\u" then
    local low = code_unit(text, next_at + 2)
    if low >= 0xDC00 and low <= 0xDFFF then
      return utf8.char(0x10000 + (unit - 0xD800) * 0x400 + (low - 0xDC00)), next_at + 6
    end
  end
  return utf8.char(unit), next_at
end

local function read_string(text, at)
  local parts, from = {}, at + 1
  while true do
    local stop = find(text, '["\\%z\1-\31]', from)
    if not stop then refuse("a string without an end") end
    parts[#parts + 1] = sub(text, from, stop - 1)
    local mark = byte(text, stop)
    if mark == 34 then return table.concat(parts), stop + 1 end
    if mark ~= 92 then refuse("a control character in a string") end
    parts[#parts + 1], from = unescaped(text, stop + 1)
  end
end

local function read_number(text, at)
  local _, whole = find(text, "^-?%d+", at)
  if not whole or find(text, "^-?0%d", at) then refuse("not JSON") end
  local _, fraction = find(text, "^%.%d+", whole + 1)
  local _, last = find(text, "^[eE][-+]?%d+", (fraction or whole) + 1)
  last = last or fraction or whole
  if last > whole then return M.FRACTION, last + 1 end
  return tonumber(sub(text, at, whole)), last + 1
end

local function read_array(text, at, depth)
  local array, n = setmetatable({}, ARRAY), 0
  at = after_blanks(text, at + 1)
  if byte(text, at) == 93 then return array, at + 1 end
  while true do
    n = n + 1
    array[n], at = read_value(text, at, depth)
    at = after_blanks(text, at)
    local mark = byte(text, at)
    if mark == 93 then return array, at + 1 end
    if mark ~= 44 then refuse("not JSON") end
    at = at + 1
  end
end

local function read_object(text, at, depth)
  local object = setmetatable({}, OBJECT)
  at = after_blanks(text, at + 1)
  if byte(text, at) == 125 then return object, at + 1 end
  while true do
    at = after_blanks(text, at)
    if byte(text, at) ~= 34 then refuse("not JSON") end
    local name
    name, at = read_string(text, at)
    if object[name] ~= nil then refuse("duplicate members") end
    at = after_blanks(text, at)
    if byte(text, at) ~= 58 then refuse("not JSON") end
    object[name], at = read_value(text, at + 1, depth)
    at = after_blanks(text, at)
    local mark = byte(text, at)
    if mark == 125 then return object, at + 1 end
    if mark ~= 44 then refuse("not JSON") end
    at = at + 1
  end
end

local function read_literal(text, at)
  for _, literal in ipairs(LITERALS) do
    if sub(text, at, at + #literal[1] - 1) == literal[1] then return literal[2], at + #literal[1] end
  end
  return read_number(text, at)
end

function read_value(text, at, depth)
  at = after_blanks(text, at)
  local mark = byte(text, at)
  if mark == 34 then return read_string(text, at) end
  if mark ~= 91 and mark ~= 123 then return read_literal(text, at) end
  if depth >= M.DEPTH_MAX then refuse("nested too deeply") end
  return (mark == 91 and read_array or read_object)(text, at, depth + 1)
end

function M.is_object(value)
  return type(value) == "table" and getmetatable(value) == OBJECT
end

function M.is_array(value)
  return type(value) == "table" and getmetatable(value) == ARRAY
end

local function read_document(text)
  if not utf8.valid(text) then refuse("not UTF-8") end
  local value, at = read_value(text, 1, 0)
  if after_blanks(text, at) <= #text then refuse("text after the end") end
  if not M.is_object(value) then refuse("not a JSON object") end
  return value
end

-- Returns the object in `text`: strings, booleans, numbers where they are integers, NULL, FRACTION, objects and
-- arrays; or nil and the rule that it breaks.
function M.parse_object(text)
  local fine, value = pcall(read_document, text)
  if fine then return value end
  return nil, type(value) == "table" and value.reason or tostring(value)
end

return M
