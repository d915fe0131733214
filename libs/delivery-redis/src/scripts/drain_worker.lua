-- Notes that a worker is to drain.
--
-- KEYS  the worker
--
-- Answers 1; 0 where there is no such worker that is live.
local known = redis.call('HMGET', KEYS[1], 'until', 'end')
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
if not known[1] or known[2] ~= '' or clock > tonumber(known[1]) then
    return 0
end
redis.call('HSET', KEYS[1], 'asked', 1)
return 1
