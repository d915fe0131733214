-- Takes the best entries of some functions of a queue and claims them.
--
-- KEYS  claims, active, then for each function: ready, delayed, taken, facts
-- ARGV  limit, now (ms), claim lease (ms), bound of moves per function, rank of one step of priority,
--       then the functions
--
-- First, what has become due and what was claimed for too long becomes ready. Answers the wait until the next
-- delayed entry is due (ms, or -1), then for each entry: number of its function, id, epoch, priority, due
-- (ms).
local claims, active = KEYS[1], KEYS[2]
local limit, now, claim_lease = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local max_moves, step = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
-- Heads are read in chunks, so that many functions with a long backlog each stay cheap.
local CHUNK = 64

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

local lanes = {}
for n = 1, (#KEYS - 2) / 4 do
    local k = 4 * n - 1
    local ready, delayed, taken, facts = KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]

    local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'WITHSCORES', 'LIMIT', 0, max_moves)
    for i = 1, #due, 2 do
        local fact = redis.call('HGET', facts, due[i])
        local priority = fact and tonumber(string.match(fact, '(-?%d+)$')) or 0
        redis.call('ZREM', delayed, due[i])
        redis.call('ZADD', ready, (100 - priority) * step + tonumber(due[i + 1]), due[i])
    end

    local expired = redis.call('ZRANGEBYSCORE', taken, '-inf', clock, 'LIMIT', 0, max_moves)
    for _, id in ipairs(expired) do
        local claim = redis.call('HGET', claims, id)
        redis.call('ZREM', taken, id)
        redis.call('HDEL', claims, id)
        if claim then
            local epoch, priority, due_at = string.match(claim, '^(%d+) (-?%d+) (%d+)$')
            if epoch ~= '0' or priority ~= '0' then
                redis.call('HSET', facts, id, epoch .. ' ' .. priority)
            end
            redis.call('ZADD', ready, (100 - tonumber(priority)) * step + tonumber(due_at), id)
        end
    end

    local lane = { n = n, ready = ready, taken = taken, facts = facts, offset = 0, pops = {} }
    load_chunk(lane, #KEYS == 6 and math.max(limit, 1) or CHUNK)
    set_head(lane)
    if lane.head then
        lanes[#lanes + 1] = lane
    end
end

local answer = { -1 }
local wanted = limit
while wanted > 0 do
    local best
    for _, lane in ipairs(lanes) do
        if lane.head and (not best or less(lane.head, best.head)) then
            best = lane
        end
    end
    if not best then
        break
    end
    local id, due_at = best.head.id, string.format('%.0f', best.head.rank % step)
    local epoch, priority = '0', '0'
    local fact = redis.call('HGET', best.facts, id)
    if fact then
        epoch, priority = string.match(fact, '^(%d+) (-?%d+)$')
        redis.call('HDEL', best.facts, id)
    end
    best.pops[#best.pops + 1] = id
    redis.call('ZADD', best.taken, clock + claim_lease, id)
    redis.call('HSET', claims, id, epoch .. ' ' .. priority .. ' ' .. due_at)
    local last = #answer
    answer[last + 1], answer[last + 2], answer[last + 3] = best.n, id, epoch
    answer[last + 4], answer[last + 5] = priority, due_at
    wanted = wanted - 1
    if wanted > 0 then
        best.row = best.row + 2
        set_head(best)
    end
end

for _, lane in ipairs(lanes) do
    -- Heads were read by position, so they leave only now.
    for _, id in ipairs(lane.pops) do
        redis.call('ZREM', lane.ready, id)
    end
end

for n = 1, (#KEYS - 2) / 4 do
    local k = 4 * n - 1
    local next_due = redis.call('ZRANGE', KEYS[k + 1], 0, 0, 'WITHSCORES')[2]
    if next_due then
        local wait = math.max(tonumber(next_due) - now, 0)
        if answer[1] == -1 or wait < answer[1] then
            answer[1] = wait
        end
    elseif redis.call('EXISTS', KEYS[k], KEYS[k + 2]) == 0 then
        redis.call('SREM', active, ARGV[5 + n])
    end
end
return answer
