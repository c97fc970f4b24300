-- What was the gateway told? The file config.json that `paidonce gateway render` wrote, read once, before the workers.

local M = {}

local function set_of(list)
  if type(list) ~= "table" then return nil end
  local set = {}
  for _, one in ipairs(list) do set[one] = true end
  return set
end

local function index_issuers(found)
  local by_name = {}
  for _, issuer in ipairs(found.issuers) do
    issuer.tenants = set_of(issuer.tenants)
    by_name[issuer.issuer] = issuer
  end
  return by_name
end

-- Gives a service its issuers, each with the audiences that are the service's own.
local function index_trust(service, by_name)
  service.trust = {}
  for _, name in ipairs(service.issuers) do
    service.trust[name] = setmetatable({ audiences = set_of(service.audiences) }, { __index = by_name[name] })
  end
end

local function index_cors(cors)
  cors.origins, cors.methods, cors.request_headers =
    set_of(cors.origins), set_of(cors.methods), set_of(cors.request_headers)
end

-- Reads the file; what it holds is then in this module's members. `decode` reads JSON, whose null it makes `null`.
function M.load(path, decode, null)
  local file = assert(io.open(path, "rb"))
  local found = assert(decode(file:read("*a")))
  file:close()
  -- JSON's null would be a true value in Lua.
  local function without_null(value)
    for name, member in pairs(value) do
      if member == null then
        value[name] = nil
      elseif type(member) == "table" then
        without_null(member)
      end
    end
  end
  without_null(found)
  local by_name = index_issuers(found)
  for _, service in pairs(found.services) do index_trust(service, by_name) end
  index_cors(found.cors)
  for name, value in pairs(found) do M[name] = value end
end

return M
