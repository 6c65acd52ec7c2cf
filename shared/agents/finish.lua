-- Store a request's result, release its agent, and notify its worker.
--
-- KEYS[1]  the request that the agent works on
-- KEYS[2]  the request's result
-- ARGV[1]  the request
-- ARGV[2]  the result
-- ARGV[3]  expiry of the result, ms
-- ARGV[4]  the worker's channel
--
-- Answers 1.

redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
redis.call('PUBLISH', ARGV[4], 'settled ' .. ARGV[1])
return 1
