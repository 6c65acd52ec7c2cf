-- Register an agent that has just connected. It is idle, and replaces an earlier connection under the same id.
--
-- KEYS[1]  the agents: a sorted set by their last use
-- KEYS[2]  where this agent's socket is
-- KEYS[3]  the request that this agent works on
-- ARGV[1]  the agent's id
-- ARGV[2]  its location: '<process> <connection> <last answer, us>'
-- ARGV[3]  expiry of the location, ms
-- ARGV[4]  the agent's last use, us (0: never)
--
-- Answers the location before, or nil.

local before = redis.call('GET', KEYS[2])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[1], 'NX', ARGV[4], ARGV[1])
redis.call('DEL', KEYS[3])
return before
