-- Append to a job's log, or rewrite it: the only script that writes a log.
--
-- KEYS[1]    the log: a stream whose ids are <attempt>-<seq>, with the fields t (type) and d (data)
-- ARGV[1]    the job's live channel
-- ARGV[2]    the log's expiry from now, ms
-- ARGV[3]    the end of the writer's lease by Redis' own clock, us (0: no lease)
-- ARGV[4]    the writer's attempt
-- ARGV[5]    the id that the entry before the first one must have
-- ARGV[6]    'append' or 'rewrite'
-- ARGV[7...] id, type and data of each entry
--
-- Answers {verdict, id of the log's last entry ('0-0' if it is empty)}:
--   'ok'      the entries are there
--   'hole'    the entry before them is not there
--   'fenced'  a later attempt has written, or the log was fenced for one (fence.lua)
--   'closed'  the last entry is a terminal event
--   'lapsed'  the writer's lease is over
--
-- The terminal types are filled in when the script is loaded: {completed = true, ...}.

local tail, kind = '0-0', ''
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if last[1] then tail, kind = last[1][1], last[1][2][2] end
local attempt = tonumber(string.match(tail, '^%d+'))
local terminal = ({TERMINAL_TYPES})[kind]
if tonumber(ARGV[3]) > 0 then
  local now = redis.call('TIME')
  if now[1] * 1000000 + now[2] > tonumber(ARGV[3]) then return {'lapsed', tail} end
end
if attempt > tonumber(ARGV[4]) then return {'fenced', tail} end
local first = 7
if ARGV[6] == 'rewrite' then
  if terminal then return {'closed', tail} end
  if redis.call('EXISTS', KEYS[1]) == 1 then
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' and tonumber(string.match(info[i + 1], '^%d+')) > tonumber(ARGV[4]) then
        return {'fenced', tail}
      end
    end
  end
  redis.call('DEL', KEYS[1])
elseif tail ~= ARGV[5] then
  first = nil
  for i = 7, #ARGV, 3 do
    if ARGV[i] == tail then first = i + 3 end
  end
  if not first then return {terminal and 'closed' or 'hole', tail} end
elseif terminal and #ARGV > 6 then
  return {'closed', tail}
end
local lines = {}
for i = first, #ARGV, 3 do
  local added = redis.pcall('XADD', KEYS[1], ARGV[i], 't', ARGV[i + 1], 'd', ARGV[i + 2])
  if added.err then
    if i == first and string.find(added.err, 'equal or smaller') then return {'fenced', tail} end
    return added
  end
  lines[#lines + 1] = ARGV[i] .. ' ' .. ARGV[i + 1] .. ' ' .. ARGV[i + 2]
  tail = ARGV[i]
end
if #lines > 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('PUBLISH', ARGV[1], ARGV[6] == 'rewrite' and '' or table.concat(lines, '\n'))
end
return {'ok', tail}
