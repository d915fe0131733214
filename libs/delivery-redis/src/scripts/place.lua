-- Makes entries of one function wait: in `ready` where they are due, else in `delayed`.
--
-- KEYS  ready, delayed, taken, facts, claims, active
-- ARGV  'new' | 'back', now (ms), function, then for each entry: id, epoch, priority, due (ms), rank
--
-- 'new' leaves an entry alone that is known under the same epoch; 'back' replaces it. A lower epoch than the
-- known one changes nothing. Answers how many were placed.
local ready, delayed, taken, facts, claims, active = unpack(KEYS)
local replaces_equal = ARGV[1] == 'back'
local now = tonumber(ARGV[2])
local placed = 0
for i = 4, #ARGV, 5 do
    local id, epoch, priority, due, rank = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
    local known
    local claim = redis.call('HGET', claims, id)
    if claim then
        known = tonumber(string.match(claim, '^%d+'))
    elseif redis.call('ZSCORE', ready, id) or redis.call('ZSCORE', delayed, id) then
        -- Most entries have epoch 0 and priority 0, and then no facts.
        local fact = redis.call('HGET', facts, id)
        known = fact and tonumber(string.match(fact, '^%d+')) or 0
    end
    local epoch_number = tonumber(epoch)
    if not known or known < epoch_number or (known == epoch_number and replaces_equal) then
        if claim then
            redis.call('HDEL', claims, id)
            redis.call('ZREM', taken, id)
        elseif known then
            redis.call('ZREM', ready, id)
            redis.call('ZREM', delayed, id)
            redis.call('HDEL', facts, id)
        end
        if epoch ~= '0' or priority ~= '0' then
            redis.call('HSET', facts, id, epoch .. ' ' .. priority)
        end
        if tonumber(due) <= now then
            redis.call('ZADD', ready, rank, id)
        else
            redis.call('ZADD', delayed, due, id)
        end
        placed = placed + 1
    end
end
if placed > 0 then
    redis.call('SADD', active, ARGV[3])
end
return placed
