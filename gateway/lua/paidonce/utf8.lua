-- Which characters are in this text, and may each of them be shown? Characters as Python tells them apart.

local byte, char, find, floor = string.byte, string.char, string.find, math.floor

local M = {}

-- One character: its first bytes with the bounds of the second (RFC 3629, section 4), and how many follow.
local FORMS = {
  { 0x00, 0x7F, 0, 0x00, 0x00 },
  { 0xC2, 0xDF, 1, 0x80, 0xBF },
  { 0xE0, 0xE0, 2, 0xA0, 0xBF },
  { 0xE1, 0xEC, 2, 0x80, 0xBF },
  { 0xED, 0xED, 2, 0x80, 0x9F },
  { 0xEE, 0xEF, 2, 0x80, 0xBF },
  { 0xF0, 0xF0, 3, 0x90, 0xBF },
  { 0xF1, 0xF3, 3, 0x80, 0xBF },
  { 0xF4, 0xF4, 3, 0x80, 0x8F },
}

-- Returns the length in bytes of the character at `at`; nil where there is none.
local function length_at(text, at)
  local first = byte(text, at)
  for _, form in ipairs(FORMS) do
    if first >= form[1] and first <= form[2] then
      for i = 1, form[3] do
        local follows = byte(text, at + i)
        local least, most = i == 1 and form[4] or 0x80, i == 1 and form[5] or 0xBF
        if not follows or follows < least or follows > most then return nil end
      end
      return form[3] + 1
    end
  end
end

function M.valid(text)
  local at = find(text, "[\128-\255]")
  while at do
    local length = length_at(text, at)
    if not length then return false end
    at = find(text, "[\128-\255]", at + length)
  end
  return true
end

-- Returns the code point in UTF-8; a lone surrogate too, as three bytes that `printable` refuses.
function M.char(point)
  if point < 0x80 then return char(point) end
  if point < 0x800 then return char(0xC0 + floor(point / 0x40), 0x80 + point % 0x40) end
  local tail = char(0x80 + floor(point / 0x40) % 0x40, 0x80 + point % 0x40)
  if point < 0x10000 then return char(0xE0 + floor(point / 0x1000)) .. tail end
  return char(0xF0 + floor(point / 0x40000), 0x80 + floor(point / 0x1000) % 0x40) .. tail
end

local function point_at(text, at)
  local first, length = byte(text, at), length_at(text, at)
  if not length then return nil end
  if length == 1 then return first, 1 end
  local point = first % 2 ^ (7 - length)
  for i = 1, length - 1 do point = point * 0x40 + byte(text, at + i) % 0x40 end
  return point, length
end

-- Whether the point is in one of the ranges, a flat ascending list: first, last, first, last …
local function within(point, ranges)
  local low, high = 1, #ranges / 2
  while low <= high do
    local middle = floor((low + high) / 2)
    if point < ranges[2 * middle - 1] then
      high = middle - 1
    elseif point > ranges[2 * middle] then
      low = middle + 1
    else
      return true
    end
  end
  return false
end

-- Returns how many characters `text` has; nil when one of them cannot be shown (Python's str.isprintable).
-- `unprintable` are the ranges of code points outside ASCII that cannot.
function M.printable_length(text, unprintable)
  if not find(text, "[^\32-\126]") then return #text end
  local at, count = 1, 0
  while at <= #text do
    local point, length = point_at(text, at)
    if not point or point < 32 or point == 127 or within(point, unprintable) then return nil end
    at, count = at + length, count + 1
  end
  return count
end

return M
