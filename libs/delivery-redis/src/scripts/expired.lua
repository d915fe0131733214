-- Hands out expired leases, each to one judge: it gets a new expiry, after which another one may have it.
--
-- KEYS  expiry, holders
-- ARGV  limit, time for the judge (ms)
--
-- Answers for each: run id, holder (epoch, namespace and worker, a line each).
local expiry, holders = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', clock, 'LIMIT', 0, tonumber(ARGV[1]))) do
    local holder = redis.call('HGET', holders, id)
    if holder then
        redis.call('ZADD', expiry, clock + tonumber(ARGV[2]), id)
        answer[#answer + 1] = id
        answer[#answer + 1] = holder
    else
        redis.call('ZREM', expiry, id)
    end
end
return answer
