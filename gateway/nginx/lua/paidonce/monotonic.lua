-- How long ago was that? Seconds that no one can set: the age of a key set must not depend on the wall clock.

local ffi = require "ffi"

ffi.cdef [[
  struct paidonce_timespec { long seconds; long nanoseconds; };
  int clock_gettime(int clock, struct paidonce_timespec *found);
]]

local CLOCK_MONOTONIC = 1
local found = ffi.new("struct paidonce_timespec")

-- Returns seconds since some moment before the start of every process of this machine.
return function()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, found)
  return tonumber(found.seconds) + tonumber(found.nanoseconds) / 1e9
end
