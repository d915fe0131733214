-- Forgets entries and claims of one function, up to the given epochs.
--
-- KEYS  ready, delayed, taken, facts, claims, active
-- ARGV  function, then for each entry: id, epoch
local ready, delayed, taken, facts, claims, active = unpack(KEYS)
for i = 2, #ARGV, 2 do
    local id, epoch = ARGV[i], tonumber(ARGV[i + 1])
    local claim = redis.call('HGET', claims, id)
    if claim then
        if tonumber(string.match(claim, '^%d+')) <= epoch then
            redis.call('HDEL', claims, id)
            redis.call('ZREM', taken, id)
        end
    else
        local fact = redis.call('HGET', facts, id)
        if not fact or tonumber(string.match(fact, '^%d+')) <= epoch then
            redis.call('ZREM', ready, id)
            redis.call('ZREM', delayed, id)
            redis.call('HDEL', facts, id)
        end
    end
end
if redis.call('EXISTS', ready, delayed, taken) == 0 then
    redis.call('SREM', active, ARGV[1])
end
return redis.status_reply('OK')
