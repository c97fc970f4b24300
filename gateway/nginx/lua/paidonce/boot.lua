-- What does a worker do first? It gives every issuer the folder of its disk copy, and begins to look after the keys.

local refresher = require "paidonce.refresher"
local settings = require "paidonce.settings"

local M = {}

-- `folder` is where key sets are kept, so that a start needs no issuer.
function M.begin(folder)
  for _, issuer in ipairs(settings.issuers) do issuer.folder = folder end
  refresher.begin(settings.issuers)
end

return M
