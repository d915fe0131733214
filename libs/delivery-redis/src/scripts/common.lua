-- What the scripts of entries have in common; it stands before each of them. Keys that are named here begin with
-- `base`, which has the hash tag of the queue, so they lie in the slot of the declared ones.
--
-- Entries with a fairness key wait in a set of their own for each key, a group. The ring of a lane has its groups by
-- the priority of their best entry and then by their turn; a group's turn is the same in all lanes of the queue. A ring
-- is told of a turn that another lane has moved on when the group comes to its head.

-- One step of priority in a rank, as in scripts.rs, and in a place of a ring: turns stay below it.
local STEP = 4398046511104
-- The field of `turns` with the latest turn: no key has a control character.
local LATEST = '\n'
-- The field of `turns` with the turn of the entries without a key.
local KEYLESS = ''

local function group_of(base, lane, key)
    return base .. 'group:' .. lane .. '\n' .. key
end

-- The turn of a group that waits, and in how many lanes.
local function turn_of(base, key)
    local turn, n_lanes = string.match(redis.call('HGET', base .. 'turns', key) or '', '^(%d+) (%d+)$')
    return tonumber(turn), tonumber(n_lanes)
end

local function next_turn(base)
    return redis.call('HINCRBY', base .. 'turns', LATEST, 1)
end

local function add_to_group(base, lane, key, id, rank)
    redis.call('ZADD', group_of(base, lane, key), rank, id)
    redis.call('HINCRBY', base .. 'keyed', lane, 1)
    local ring, priority = base .. 'ring:' .. lane, math.floor(rank / STEP)
    local place = tonumber(redis.call('ZSCORE', ring, key) or -1)
    if place < 0 then
        local turn, n_lanes = turn_of(base, key)
        turn, n_lanes = turn or next_turn(base), (n_lanes or 0) + 1
        redis.call('HSET', base .. 'turns', key, turn .. ' ' .. n_lanes)
        redis.call('ZADD', ring, priority * STEP + turn, key)
    elseif priority < math.floor(place / STEP) then
        redis.call('ZADD', ring, priority * STEP + place % STEP, key)
    end
end

-- An entry has left its group: the group keeps its turn, or gets the one that is given. False: no entry of the queue
-- that has a key is ready any more.
--
-- What is missing, because someone else has touched the keys, is made again rather than an error: that would come with
-- every take from the queue.
local function settle_group(base, lane, key, turn)
    local ring, turns = base .. 'ring:' .. lane, base .. 'turns'
    local best = redis.call('ZRANGE', group_of(base, lane, key), 0, 0, 'WITHSCORES')[2]
    local known, n_lanes = turn_of(base, key)
    turn, n_lanes = turn or known or next_turn(base), n_lanes or 1
    if best then
        redis.call('ZADD', ring, math.floor(tonumber(best) / STEP) * STEP + turn, key)
        redis.call('HSET', turns, key, turn .. ' ' .. n_lanes)
    else
        redis.call('ZREM', ring, key)
        if n_lanes > 1 then
            redis.call('HSET', turns, key, turn .. ' ' .. n_lanes - 1)
        else
            redis.call('HDEL', turns, key)
        end
    end
    if redis.call('HINCRBY', base .. 'keyed', lane, -1) <= 0 then
        redis.call('HDEL', base .. 'keyed', lane)
        if redis.call('EXISTS', base .. 'keyed') == 0 then
            redis.call('DEL', turns)
            return false
        end
    end
    return true
end

local function remove_from_group(base, lane, key, id)
    if redis.call('ZREM', group_of(base, lane, key), id) == 1 then
        settle_group(base, lane, key)
    end
end

-- What an entry is called in `delayed`, which alone tells its key there: an id has 16 bytes.
local function delayed_name(id, key)
    return id .. key
end

-- A claim that has its key and preferred worker, where there are any.
local function claim_text(epoch, priority, due, key, prefers)
    local claim = epoch .. ' ' .. priority .. ' ' .. due
    if key ~= '' or prefers ~= '' then
        claim = claim .. '\n' .. key .. '\n' .. prefers
    end
    return claim
end

-- Most entries have epoch 0, priority 0 and no preferred worker, and then no facts.
local function put_facts(facts, id, epoch, priority, prefers)
    if epoch ~= '0' or priority ~= '0' or prefers ~= '' then
        local more = prefers ~= '' and ' ' .. prefers or ''
        redis.call('HSET', facts, id, epoch .. ' ' .. priority .. more)
    end
end

-- The function of a lane and the first label that it requires. Nil: it requires none.
local function first_need(lane)
    return string.match(lane, '^([^\n]*)\n([^\n]*)')
end

local function note_filled(base, active, lane)
    if redis.call('SADD', active, lane) == 1 then
        local name, line = first_need(lane)
        if name then
            redis.call('SADD', base .. 'needs:' .. name .. '\n' .. line, lane)
            redis.call('SADD', base .. 'needed:' .. name, line)
            redis.call('SADD', base .. 'needed', name)
        end
    end
end

local function note_emptied(base, active, lane)
    if redis.call('SREM', active, lane) == 1 then
        local name, line = first_need(lane)
        if name then
            local needs, lines = base .. 'needs:' .. name .. '\n' .. line, base .. 'needed:' .. name
            redis.call('SREM', needs, lane)
            if redis.call('EXISTS', needs) == 0 then
                redis.call('SREM', lines, line)
            end
            if redis.call('EXISTS', lines) == 0 then
                redis.call('SREM', base .. 'needed', name)
            end
        end
    end
end
