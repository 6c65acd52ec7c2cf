-- Withdraw a request that no process has accepted, and release its agent.
--
-- KEYS[1]  the request that the agent works on
-- KEYS[2]  the request's result
-- ARGV[1]  the request
-- ARGV[2]  expiry of a claim, ms: one that lasts longer was accepted
--
-- Answers 1, or 0 if the request was accepted: then nothing is changed.

if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
if redis.call('GET', KEYS[1]) == ARGV[1] then
  if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[2]) then return 0 end
  redis.call('DEL', KEYS[1])
end
return 1
