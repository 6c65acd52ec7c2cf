-- Accept a request for the agent that was claimed for it, and notify its worker.
--
-- KEYS[1]  the request that the agent works on
-- ARGV[1]  the request
-- ARGV[2]  expiry of an accepted request, ms
-- ARGV[3]  the worker's channel
--
-- Answers 1, or 0 if the agent is not claimed for this request any more: then it is refused.

local stands = redis.call('GET', KEYS[1]) == ARGV[1]
if stands then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
redis.call('PUBLISH', ARGV[3], (stands and 'accepted ' or 'refused ') .. ARGV[1])
return stands and 1 or 0
