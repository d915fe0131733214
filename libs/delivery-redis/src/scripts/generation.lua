-- Tells since when nothing has been lost; after a loss, since now. A server that was started anew, or has taken another one's
-- place, may have lost the last of what it was told, or have been given an old snapshot: that counts as a loss. So all that was
-- handed over before is handed over again; what is there already stays as it is.
--
-- KEYS  born_at, born_by
--
-- Answers the time of birth and the time now (µs).
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
-- Some servers keep INFO to themselves: then only a loss of everything is seen.
local info = redis.pcall('INFO', 'server')
local server = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
local born = tonumber(redis.call('GET', KEYS[1]))
local is_other = false
if server then
    local known = redis.call('GET', KEYS[2])
    is_other = known and known ~= server
    if known ~= server then
        redis.call('SET', KEYS[2], server)
    end
end
-- A birth that is yet to come was told by a clock that has been put back since: no lease would be judged until then.
if not born or is_other or born > tonumber(now) then
    redis.call('SET', KEYS[1], now)
end
return { redis.call('GET', KEYS[1]), now }
