-- Keep an agent registered, with the request that it works on; after Redis was emptied, register it again.
--
-- KEYS[1]  the agents: a sorted set by their last use
-- KEYS[2]  where this agent's socket is
-- KEYS[3]  the request that this agent works on
-- ARGV[1]  the agent's id
-- ARGV[2]  its location: '<process> <connection> <last answer, us>'
-- ARGV[3]  expiry of the location, ms
-- ARGV[4]  the agent's last use, us (0: never)
-- ARGV[5]  its connection
-- ARGV[6]  the request that it has accepted, or ''
-- ARGV[7]  expiry of that, ms
--
-- Answers 1, or 0 if another connection has the agent's id: then nothing is changed.

local location = redis.call('GET', KEYS[2])
if location and string.match(location, '^%S+ (%S+)') ~= ARGV[5] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[1], 'NX', ARGV[4], ARGV[1])
if ARGV[6] ~= '' then redis.call('SET', KEYS[3], ARGV[6], 'NX', 'PX', ARGV[7]) end
return 1
