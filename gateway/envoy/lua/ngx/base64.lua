-- What does OpenResty's `ngx.base64` do, without OpenResty? base64url, of which Envoy's Lua has nothing.

local M = {}

local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local VALUE = {}
for i = 1, #DIGITS do VALUE[DIGITS:byte(i)] = i - 1 end

local char, byte, floor = string.char, string.byte, math.floor

-- Returns the bytes; nil for a text that is no base64url without padding.
function M.decode_base64url(text)
  if #text % 4 == 1 then return nil end
  local parts = {}
  for at = 1, #text, 4 do
    local group, length = 0, math.min(4, #text - at + 1)
    for i = 0, 3 do
      local value = i < length and VALUE[byte(text, at + i)] or i >= length and 0
      if not value then return nil end
      group = group * 64 + value
    end
    local three = char(floor(group / 65536), floor(group / 256) % 256, group % 256)
    parts[#parts + 1] = three:sub(1, length - 1)
  end
  return table.concat(parts)
end

-- Returns the one canonical text, without padding.
function M.encode_base64url(bytes)
  local parts = {}
  for at = 1, #bytes, 3 do
    local length = math.min(3, #bytes - at + 1)
    local group = 0
    for i = 0, 2 do group = group * 256 + (i < length and byte(bytes, at + i) or 0) end
    for i = 3, 3 - length, -1 do
      local place = floor(group / 64 ^ i) % 64 + 1
      parts[#parts + 1] = DIGITS:sub(place, place)
    end
  end
  return table.concat(parts)
end

return M
