-- Count one hit against a rate, over a window that moves. What has left the window is removed with each hit, so that none takes long.
--
-- KEYS[1]  the hits of the window: a list of moments (ms of Redis' clock), newest first
-- ARGV[1]  how many hits a window may have
-- ARGV[2]  the window's length, ms
--
-- Answers {1 if the hit was counted, else 0; how many are left; ms until the oldest hit leaves the window}.

local amount, length = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local oldest = redis.call('LINDEX', KEYS[1], -1)
while oldest and tonumber(oldest) <= now - length do
  redis.call('RPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], -1)
end
local hits = redis.call('LLEN', KEYS[1])
local allowed = hits < amount
if allowed then
  hits = redis.call('LPUSH', KEYS[1], string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[1], length)
end
return {allowed and 1 or 0, math.max(0, amount - hits), tonumber(oldest or now) + length - now}
