-- Renews leases by the server's clock.
--
-- KEYS  expiry, holders, hindrances
-- ARGV  duration (ms), namespace, then for each lease: run id, epoch, hindrance (empty: none)
--
-- Answers in order: 1 where there is such a lease of this namespace, else 0.
local expiry, holders, hindrances = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local expires = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
local are_any_hindered = redis.call('EXISTS', hindrances) == 1
local answer = {}
for i = 3, #ARGV, 3 do
    local known = redis.call('HGET', holders, ARGV[i])
    local epoch, namespace
    if known then
        epoch, namespace = string.match(known, '^(%d+)\n([^\n]*)\n')
    end
    if epoch == ARGV[i + 1] and namespace == ARGV[2] then
        redis.call('ZADD', expiry, expires, ARGV[i])
        if ARGV[i + 2] ~= '' then
            redis.call('HSET', hindrances, ARGV[i], ARGV[i + 2])
        elseif are_any_hindered then
            redis.call('HDEL', hindrances, ARGV[i])
        end
        answer[#answer + 1] = 1
    else
        answer[#answer + 1] = 0
    end
end
return answer
