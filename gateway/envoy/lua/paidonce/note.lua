-- What do Envoy's filters tell each other of a request? Its dynamic metadata under one name, which no caller can write.

local M = {}

local NAME = "paidonce"

-- Writes the values down; a log line shows `reason`.
function M.put(handle, values)
  local metadata = handle:streamInfo():dynamicMetadata()
  for name, value in pairs(values) do metadata:set(NAME, name, value) end
end

-- Returns all that was written down.
function M.all(handle)
  return handle:streamInfo():dynamicMetadata():get(NAME) or {}
end

return M
