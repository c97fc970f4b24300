-- What does a service learn of the caller? The claims of the route file's map, and nothing else of the token.

local M = {}

-- What stands for a token that says nothing of a limit (app/auth/vouched.py).
local NO_LIMIT_OF_ITS_OWN = "default"

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
  iss = function(principal) return encoded(principal.issuer) end,
  tenant = function(principal) return encoded(principal.tenant) end,
  scope = function(principal) return joined(principal.scopes) end,
  roles = function(principal) return joined(principal.roles) end,
  refund_limit = function(principal)
    return principal.refund_limit and ("%.0f"):format(principal.refund_limit) or NO_LIMIT_OF_ITS_OWN
  end,
}

-- Returns place -> text for a map of place -> claim.
function M.of(claims, principal)
  local texts = {}
  for place, claim in pairs(claims) do texts[place] = READERS[claim](principal) end
  return texts
end

-- Returns one name for the caller that no other caller has, for counting.
function M.subject(principal)
  return table.concat({ encoded(principal.issuer), encoded(principal.tenant), encoded(principal.sub) }, " ")
end

return M
