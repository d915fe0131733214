-- Takes the best entries of some lanes of a queue and claims them.
--
-- KEYS  claims, active, then for each lane: ready, delayed, taken, facts
-- ARGV  limit, now (ms), claim lease (ms), bound of moves, base, then the lanes
--
-- First, what was claimed for too long and what has become due becomes ready, up to the bound. Answers the wait until the
-- next delayed entry is due (ms, or -1), then for each entry: number of its lane, id, epoch, priority, due (ms), fairness
-- key, preferred worker. What is no run id is in the answer and nowhere else any more.
local claims, active = KEYS[1], KEYS[2]
local limit, now, claim_lease = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local moves_left, base = tonumber(ARGV[4]), ARGV[5]
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
-- Heads are read in chunks, so that many lanes with a long backlog each stay cheap.
local CHUNK = 64
-- Rings learn of so many turns at most: with more that have moved on, one take may go by older turns.
local turns_to_learn = 500

local function make_ready(ready, lane, key, id, rank)
    if key == '' then
        redis.call('ZADD', ready, rank, id)
    else
        add_to_group(base, lane, key, id, rank)
    end
end

local lanes, n_lanes = {}, (#KEYS - 2) / 4
-- Any lane first: where there is too much to move, each has its chance.
local first = tonumber(time[2])
for step = 1, n_lanes do
    local n = (first + step) % n_lanes + 1
    local k = 4 * n - 1
    local ready, delayed, taken, facts, name = KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], ARGV[5 + n]

    if moves_left > 0 then
        local expired = redis.call('ZRANGEBYSCORE', taken, '-inf', clock, 'LIMIT', 0, moves_left)
        moves_left = moves_left - #expired
        for _, id in ipairs(expired) do
            local claim = redis.call('HGET', claims, id)
            redis.call('ZREM', taken, id)
            redis.call('HDEL', claims, id)
            if claim then
                local epoch, priority, due_at, key, prefers =
                    string.match(claim, '^(%d+) (-?%d+) (%d+)\n?([^\n]*)\n?(.*)$')
                put_facts(facts, id, epoch, priority, prefers)
                make_ready(ready, name, key, id, (100 - tonumber(priority)) * STEP + tonumber(due_at))
            end
        end
    end

    if moves_left > 0 then
        local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'WITHSCORES', 'LIMIT', 0, moves_left)
        moves_left = moves_left - #due / 2
        for i = 1, #due, 2 do
            local id, key = string.sub(due[i], 1, 16), string.sub(due[i], 17)
            local fact = redis.call('HGET', facts, id)
            local priority = fact and tonumber(string.match(fact, '^%d+ (-?%d+)')) or 0
            redis.call('ZREM', delayed, due[i])
            make_ready(ready, name, key, id, (100 - priority) * STEP + tonumber(due[i + 1]))
        end
    end

    lanes[n] = { n = n, name = name, ready = ready, taken = taken, facts = facts, offset = 0, pops = {} }
end

-- Without keys nobody takes turns, and nothing is asked of them.
local has_turns = redis.call('EXISTS', base .. 'keyed') == 1
local keyless_turn = has_turns and tonumber(redis.call('HGET', base .. 'turns', KEYLESS) or 0)

local function less(a, b)
    if a.rank ~= b.rank then
        return a.rank < b.rank
    end
    -- Byte by byte: Lua's own order of strings depends on the locale.
    for i = 1, #a.id do
        local x, y = string.byte(a.id, i), string.byte(b.id, i)
        if x ~= y then
            return x < y
        end
    end
    return false
end

local function place_of(head)
    return head.place or math.floor(head.rank / STEP) * STEP + keyless_turn
end

local function comes_before(a, b)
    if has_turns then
        local x, y = place_of(a), place_of(b)
        if x ~= y then
            return x < y
        end
    end
    return less(a, b)
end

local function load_chunk(lane, size)
    lane.rows = redis.call('ZRANGE', lane.ready, lane.offset, lane.offset + size - 1, 'WITHSCORES')
    lane.offset = lane.offset + #lane.rows / 2
    lane.row = 1
end

local function set_head(lane)
    if lane.row > #lane.rows and #lane.rows > 0 then
        load_chunk(lane, CHUNK)
    end
    if lane.rows[lane.row] then
        lane.head = { id = lane.rows[lane.row], rank = tonumber(lane.rows[lane.row + 1]) }
    else
        lane.head = nil
    end
end

-- The best entry of the group whose turn it is.
local function set_group_head(lane)
    local ring = base .. 'ring:' .. lane.name
    lane.group_head = nil
    while true do
        local first = redis.call('ZRANGE', ring, 0, 0, 'WITHSCORES')
        if not first[1] then
            return
        end
        local key, place, turn = first[1], tonumber(first[2]), turn_of(base, first[1]) or 0
        if place % STEP < turn and turns_to_learn > 0 then
            turns_to_learn = turns_to_learn - 1
            redis.call('ZADD', ring, math.floor(place / STEP) * STEP + turn, key)
        else
            local best = redis.call('ZRANGE', group_of(base, lane.name, key), 0, 0, 'WITHSCORES')
            if best[1] then
                lane.group_head = { id = best[1], rank = tonumber(best[2]), key = key, place = place }
                return
            end
            redis.call('ZREM', ring, key)
        end
    end
end

local candidates = {}
for _, lane in ipairs(lanes) do
    load_chunk(lane, #KEYS == 6 and math.max(limit, 1) or CHUNK)
    set_head(lane)
    if has_turns then
        set_group_head(lane)
    end
    if lane.head or lane.group_head then
        candidates[#candidates + 1] = lane
    end
end

local answer = { -1 }
local wanted = limit
while wanted > 0 do
    local best, best_lane
    for _, lane in ipairs(candidates) do
        if lane.head and (not best or comes_before(lane.head, best)) then
            best, best_lane = lane.head, lane
        end
        if lane.group_head and (not best or comes_before(lane.group_head, best)) then
            best, best_lane = lane.group_head, lane
        end
    end
    if not best then
        break
    end
    local id, due_at = best.id, string.format('%.0f', best.rank % STEP)
    local key = best.key or ''
    local epoch, priority, prefers = '0', '0', ''
    local fact = redis.call('HGET', best_lane.facts, id)
    if fact then
        epoch, priority, prefers = string.match(fact, '^(%d+) (-?%d+) ?(.*)$')
        redis.call('HDEL', best_lane.facts, id)
    end
    if #id == 16 then
        redis.call('ZADD', best_lane.taken, clock + claim_lease, id)
        redis.call('HSET', claims, id, claim_text(epoch, priority, due_at, key, prefers))
    end
    local last = #answer
    answer[last + 1], answer[last + 2], answer[last + 3] = best_lane.n, id, epoch
    answer[last + 4], answer[last + 5], answer[last + 6], answer[last + 7] = priority, due_at, key, prefers
    wanted = wanted - 1
    if best.key then
        redis.call('ZREM', group_of(base, best_lane.name, key), id)
        has_turns = settle_group(base, best_lane.name, key, next_turn(base))
        for _, lane in ipairs(candidates) do
            -- It may wait in other lanes, too, and has a later turn there now.
            if lane.group_head and lane.group_head.key == key then
                set_group_head(lane)
            end
        end
    else
        best_lane.pops[#best_lane.pops + 1] = id
        if has_turns then
            keyless_turn = next_turn(base)
        end
        if wanted > 0 then
            best_lane.row = best_lane.row + 2
            set_head(best_lane)
        end
    end
end
if has_turns and keyless_turn > 0 then
    redis.call('HSET', base .. 'turns', KEYLESS, string.format('%.0f', keyless_turn))
end

for _, lane in ipairs(candidates) do
    -- Heads were read by position, so they leave only now.
    for _, id in ipairs(lane.pops) do
        redis.call('ZREM', lane.ready, id)
    end
end

for n, lane in ipairs(lanes) do
    local next_due = redis.call('ZRANGE', KEYS[4 * n], 0, 0, 'WITHSCORES')[2]
    if next_due then
        local wait = math.max(tonumber(next_due) - now, 0)
        if answer[1] == -1 or wait < answer[1] then
            answer[1] = wait
        end
    elseif redis.call('EXISTS', lane.ready, lane.taken, base .. 'ring:' .. lane.name) == 0 then
        note_emptied(base, active, lane.name)
    end
end
return answer
