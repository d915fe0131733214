-- Grants leases by the server's clock.
--
-- KEYS  expiry, holders, hindrances
-- ARGV  duration (ms), then for each lease: run id, epoch, holder (epoch, namespace and worker, a line each)
local expiry, holders, hindrances = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local expires = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
for i = 2, #ARGV, 3 do
    local known = redis.call('HGET', holders, ARGV[i])
    if not known or tonumber(string.match(known, '^%d+')) <= tonumber(ARGV[i + 1]) then
        redis.call('ZADD', expiry, expires, ARGV[i])
        redis.call('HSET', holders, ARGV[i], ARGV[i + 2])
        if known then
            redis.call('HDEL', hindrances, ARGV[i])
        end
    end
end
return redis.status_reply('OK')
