-- Remove an agent whose connection has ended. If another connection has its id, nothing is changed.
--
-- KEYS[1]  the agents: a sorted set by their last use
-- KEYS[2]  where this agent's socket is
-- ARGV[1]  the agent's id
-- ARGV[2]  its connection
--
-- Answers 1.

local location = redis.call('GET', KEYS[2])
if location and string.match(location, '^%S+ (%S+)') == ARGV[2] then
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 1
