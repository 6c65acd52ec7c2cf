-- Fence a job's log: no attempt before this one writes any more. It adds no entry, and readers see nothing of it.
--
-- KEYS[1]  the log
-- ARGV[1]  the attempt that may write from now on
-- ARGV[2]  the expiry of a log that has no entry yet, ms

local fence = ARGV[1] .. '-0'
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if last[1] then
  if tonumber(string.match(last[1][1], '^%d+')) < tonumber(ARGV[1]) then redis.call('XSETID', KEYS[1], fence) end
elseif redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XADD', KEYS[1], fence, 't', '', 'd', '')
  redis.call('XDEL', KEYS[1], fence)
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 'ok'
