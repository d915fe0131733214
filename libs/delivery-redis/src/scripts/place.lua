-- Makes entries of one lane wait: ready where they are due, else in `delayed`.
--
-- KEYS  ready, delayed, taken, facts, claims, active
-- ARGV  'new' | 'back', now (ms), base, lane, 5 | 7, then for each entry so many: id, epoch, priority, due (ms), rank,
--       and where one of them has it: fairness key, preferred worker
--
-- 'new' leaves an entry alone that is known under the same epoch; 'back' replaces it. A lower epoch than the
-- known one changes nothing. Answers how many were placed.
local ready, delayed, taken, facts, claims, active = unpack(KEYS)
local replaces_equal = ARGV[1] == 'back'
local now, base, lane, width = tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local placed = 0
for i = 6, #ARGV, width do
    local id, epoch, priority, due, rank = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
    local key, prefers = '', ''
    if width == 7 then
        key, prefers = ARGV[i + 5], ARGV[i + 6]
    end
    local waits_in = key == '' and ready or group_of(base, lane, key)
    local known
    local claim = redis.call('HGET', claims, id)
    if claim then
        known = tonumber(string.match(claim, '^%d+'))
    elseif redis.call('ZSCORE', waits_in, id) or redis.call('ZSCORE', delayed, delayed_name(id, key)) then
        local fact = redis.call('HGET', facts, id)
        known = fact and tonumber(string.match(fact, '^%d+')) or 0
    end
    local epoch_number = tonumber(epoch)
    if not known or known < epoch_number or (known == epoch_number and replaces_equal) then
        if claim then
            redis.call('HDEL', claims, id)
            redis.call('ZREM', taken, id)
        elseif known then
            if key == '' then
                redis.call('ZREM', ready, id)
            else
                remove_from_group(base, lane, key, id)
            end
            redis.call('ZREM', delayed, delayed_name(id, key))
            redis.call('HDEL', facts, id)
        end
        put_facts(facts, id, epoch, priority, prefers)
        if tonumber(due) > now then
            redis.call('ZADD', delayed, due, delayed_name(id, key))
        elseif key == '' then
            redis.call('ZADD', ready, rank, id)
        else
            add_to_group(base, lane, key, id, tonumber(rank))
        end
        placed = placed + 1
    end
end
if placed > 0 then
    note_filled(base, active, lane)
end
return placed
