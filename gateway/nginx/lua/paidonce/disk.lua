-- Which keys did the issuer have when it last answered? Kept on disk, so that a start needs no issuer.
--
-- Whoever can write the file can write tokens: it is the workers' alone (mode 0600), and one that others own or
-- may write is not read. The calls block a worker for some microseconds, once in a refresh.

local cjson = require "cjson.safe"
local ffi = require "ffi"

ffi.cdef [[
  struct paidonce_statx {
    uint32_t mask, block_size; uint64_t attributes; uint32_t links, uid, gid; uint16_t mode, spare;
    uint8_t rest[256];
  };
  int open(const char *path, int flags, ...);
  int close(int fd);
  int fsync(int fd);
  long write(int fd, const void *from, size_t length);
  long read(int fd, void *into, size_t length);
  int statx(int folder, const char *path, int flags, unsigned mask, struct paidonce_statx *found);
  unsigned geteuid(void);
  int getpid(void);
]]

local M = {}
local C = ffi.C

local O_RDONLY, O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW = 0, 1, 64, 512, 131072
if ffi.arch == "arm64" or ffi.arch == "arm" then O_NOFOLLOW = 32768 end
local OURS_ALONE = ffi.new("int", 384)  -- 0600
local WRITABLE_BY_OTHERS = 18  -- 0022
local AT_EMPTY_PATH, STATX_BASIC = 0x1000, 0x7FF
-- Bytes of a file: a key set of the largest size, escaped.
local BYTES_MAX = 262144

local function path_of(folder, issuer)
  return folder .. "/" .. ngx.md5(issuer) .. ".json"
end

local function is_ours_alone(fd)
  local found = ffi.new("struct paidonce_statx")
  if C.statx(fd, "", AT_EMPTY_PATH, STATX_BASIC, found) ~= 0 then return false end
  return found.uid == C.geteuid() and bit.band(found.mode, WRITABLE_BY_OTHERS) == 0
end

local function read_all(fd)
  local buffer, parts, total = ffi.new("uint8_t[?]", 16384), {}, 0
  while total <= BYTES_MAX do
    local length = tonumber(C.read(fd, buffer, 16384))
    if length <= 0 then return length == 0 and table.concat(parts) or nil end
    parts[#parts + 1], total = ffi.string(buffer, length), total + length
  end
end

local function written(path, content)
  local fd = C.open(path, O_WRONLY + O_CREAT + O_TRUNC + O_NOFOLLOW, OURS_ALONE)
  if fd < 0 then return false end
  local whole = is_ours_alone(fd) and tonumber(C.write(fd, content, #content)) == #content and C.fsync(fd) == 0
  C.close(fd)
  return whole
end

-- Puts {issuer, body, fetched_at, max_age_s} in place of the last set, whole or not at all; what fails is only logged.
function M.save(folder, kept)
  local path = path_of(folder, kept.issuer)
  local draft = path .. "." .. C.getpid()
  if not written(draft, cjson.encode(kept)) or not os.rename(draft, path) then
    os.remove(draft)
    ngx.log(ngx.ERR, "key set not kept in ", folder)
  end
end

-- Returns what `save` was given; nil when there is none, or none that may be trusted.
function M.load(folder, issuer)
  local fd = C.open(path_of(folder, issuer), O_RDONLY + O_NOFOLLOW)
  if fd < 0 then return nil end
  local ours = is_ours_alone(fd)
  local content = ours and read_all(fd)
  C.close(fd)
  if not ours then ngx.log(ngx.ERR, "key set on disk ignored: others may write it, in ", folder) end
  local kept = content and cjson.decode(content)
  if type(kept) ~= "table" or kept.issuer ~= issuer then return nil end
  if type(kept.body) ~= "string" or type(kept.fetched_at) ~= "number" then return nil end
  return kept
end

return M
