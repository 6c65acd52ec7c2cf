-- Claim an idle agent for a request: a certain one, or the one that was used longest ago. Agents that are gone are removed.
--
-- KEYS[1]    the agents: a sorted set by their last use
-- ARGV[1]    the request
-- ARGV[2]    expiry of the claim, ms
-- ARGV[3]    prefix of the keys of agents' locations
-- ARGV[4]    prefix of the keys of the requests that agents work on
-- ARGV[5]    'one' or 'any'
-- ARGV[6...] of 'one' the agent to claim; of 'any' those to pass over
--
-- Answers {'taken', agent, location}, or
--   {'busy'}  no agent that may be claimed is idle
--   {'none'}  no agent is connected, or not the one to claim

local candidates, passed = {ARGV[6]}, {}
if ARGV[5] == 'any' then
  candidates = redis.call('ZRANGE', KEYS[1], 0, -1)
  for i = 6, #ARGV do passed[ARGV[i]] = true end
end
local verdict = 'none'
for _, id in ipairs(candidates) do
  local location = redis.call('GET', ARGV[3] .. id)
  if not location then
    redis.call('ZREM', KEYS[1], id)
  else
    verdict = 'busy'
    if not passed[id] and redis.call('SET', ARGV[4] .. id, ARGV[1], 'NX', 'PX', ARGV[2]) then
      local now = redis.call('TIME')
      redis.call('ZADD', KEYS[1], 'XX', now[1] .. string.format('%06d', now[2]), id)
      return {'taken', id, location}
    end
  end
end
return {verdict}
