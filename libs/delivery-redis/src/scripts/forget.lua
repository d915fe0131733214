-- Forgets entries and claims of one lane, up to the given epochs.
--
-- KEYS  ready, delayed, taken, facts, claims, active
-- ARGV  base, lane, then for each entry: id, epoch, fairness key
local ready, delayed, taken, facts, claims, active = unpack(KEYS)
local base, lane = ARGV[1], ARGV[2]
for i = 3, #ARGV, 3 do
    local id, epoch, key = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
    local claim = redis.call('HGET', claims, id)
    if claim then
        if tonumber(string.match(claim, '^%d+')) <= epoch then
            redis.call('HDEL', claims, id)
            redis.call('ZREM', taken, id)
        end
    else
        local fact = redis.call('HGET', facts, id)
        if not fact or tonumber(string.match(fact, '^%d+')) <= epoch then
            if key == '' then
                redis.call('ZREM', ready, id)
            else
                remove_from_group(base, lane, key, id)
            end
            redis.call('ZREM', delayed, delayed_name(id, key))
            redis.call('HDEL', facts, id)
        end
    end
end
if redis.call('EXISTS', ready, delayed, taken, base .. 'ring:' .. lane) == 0 then
    note_emptied(base, active, lane)
end
return redis.status_reply('OK')
