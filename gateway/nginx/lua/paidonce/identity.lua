-- What does a service learn of the caller? The claims of the route file's map, as headers, and nothing else.
--
-- nginx sets these headers on every request to a service, empty ones not at all, so none from outside arrives.

local M = {}

-- A header cannot hold every character, and " joe" would arrive as "joe": what is not visible ASCII, and the
-- percent sign, is percent-encoded, so that two subjects never become one.
local function encoded(text)
  return (text:gsub("[^\33-\36\38-\126]", function(character) return ("%%%02X"):format(character:byte()) end))
end

local function joined(list)
  local words = {}
  for i, word in ipairs(list) do words[i] = encoded(word) end
  return table.concat(words, " ")
end

local READERS = {
  sub = function(principal) return encoded(principal.sub) end,
  tenant = function(principal) return encoded(principal.tenant) end,
  scope = function(principal) return joined(principal.scopes) end,
  roles = function(principal) return joined(principal.roles) end,
}

-- Puts the claims into the variables that the location's proxy_set_header lines read.
function M.put(service, principal)
  for variable, claim in pairs(service.claims) do ngx.var[variable] = READERS[claim](principal) end
end

return M
