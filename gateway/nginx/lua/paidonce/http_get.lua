-- What does this server answer to a GET? Over one fresh connection, within one time limit and one size limit.
--
-- TLS with the server's name checked; no redirects, no compression, no proxy.

local monotonic = require "paidonce.monotonic"

local M = {}

-- Bytes of one line of an answer's head, and lines of it.
local LINE_BYTES_MAX, LINES_MAX = 8192, 100

-- Returns scheme, host, port and path of `url`; nil for one that we do not fetch from.
function M.parts(url)
  local scheme, authority, path = url:match("^(https?)://([^/?#@]+)([^#]*)$")
  if not scheme then return nil end
  local host, port = authority:match("^(%[[%x:.]+%]):?(%d*)$")
  if not host then host, port = authority:match("^([^:]+):?(%d*)$") end
  if not host then return nil end
  if not path:find("^/") then path = "/" .. path end
  return scheme, host, tonumber(port) or (scheme == "https" and 443 or 80), path
end

-- Whether the host is this machine: only from here are keys fetched without TLS.
function M.is_loopback(host)
  return host == "localhost" or host == "[::1]" or host:find("^127%.%d+%.%d+%.%d+$") ~= nil
end

local Connection = {}
Connection.__index = Connection

-- Calls a method of the socket with what is left of the time; raises what it says when it fails.
function Connection:call(method, ...)
  local left_s = self.deadline - monotonic()
  if left_s <= 0 then error({ reason = "too late" }, 0) end
  self.socket:settimeout(math.ceil(left_s * 1000))
  local result, why = self.socket[method](self.socket, ...)
  if not result then error({ reason = tostring(why) }, 0) end
  return result
end

function Connection:line()
  local line = self:call("receive", "*l")
  if #line > LINE_BYTES_MAX then error({ reason = "a line without an end" }, 0) end
  return line
end

function Connection:count(length)
  self.read = self.read + length
  if self.read > self.bytes_max then error({ reason = "more than " .. self.bytes_max .. " bytes" }, 0) end
end

function Connection:bytes(length)
  self:count(length)
  return length > 0 and self:call("receive", length) or ""
end

-- Returns the status, and the headers by lower-case name; of two lines the last.
function Connection:head()
  local status = tonumber(self:line():match("^HTTP/1%.[01] (%d%d%d)"))
  if not status then error({ reason = "not HTTP" }, 0) end
  local headers = {}
  for _ = 1, LINES_MAX do
    local line = self:line()
    if line == "" then return status, headers end
    local name, value = line:match("^([^:%s]+):%s*(.-)%s*$")
    if not name then error({ reason = "not HTTP" }, 0) end
    headers[name:lower()] = value
  end
  error({ reason = "too many headers" }, 0)
end

function Connection:chunks()
  local parts = {}
  while true do
    local length = tonumber(self:line():match("^%x+") or "", 16)
    if not length then error({ reason = "a bad chunk" }, 0) end
    if length == 0 then return table.concat(parts) end
    parts[#parts + 1] = self:bytes(length)
    self:line()
  end
end

-- Reads until the server closes.
function Connection:rest()
  local parts = {}
  while true do
    local fine, part = pcall(self.call, self, "receiveany", self.bytes_max + 1)
    if not fine then
      if part.reason == "closed" then return table.concat(parts) end
      error(part, 0)
    end
    self:count(#part)
    parts[#parts + 1] = part
  end
end

function Connection:body(headers)
  if (headers["transfer-encoding"] or ""):lower() == "chunked" then return self:chunks() end
  local length = tonumber((headers["content-length"] or ""):match("^%d+$") or "")
  if length then return self:bytes(length) end
  return self:rest()
end

local function get(url, options)
  local scheme, host, port, path = M.parts(url)
  if not scheme then error({ reason = "not a URL that we fetch from: " .. url }, 0) end
  if scheme == "http" and not M.is_loopback(host) then error({ reason = "not https: " .. url }, 0) end
  local self = setmetatable({ deadline = options.deadline, bytes_max = options.bytes_max, read = 0 }, Connection)
  self.socket = ngx.socket.tcp()
  self:call("connect", host == "localhost" and "127.0.0.1" or host, port)
  if scheme == "https" then self:call("sslhandshake", nil, host, true) end
  self:call("send", ("GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: application/json\r\n" ..
    "Accept-Encoding: identity\r\nConnection: close\r\n\r\n"):format(path, host, port))
  local status, headers = self:head()
  if status ~= 200 then error({ reason = "status " .. status }, 0) end
  local body = self:body(headers)
  self.socket:close()
  return { body = body, headers = headers }
end

-- Returns {body, headers} of a 200; or nil and what went wrong. `options`: `deadline` by the monotonic clock,
-- `bytes_max` of the body.
function M.get(url, options)
  local fine, answer = pcall(get, url, options)
  if fine then return answer end
  return nil, type(answer) == "table" and answer.reason or tostring(answer)
end

return M
