-- Tells of workers of one namespace. Of a worker's streams the latest counts; see Delivery::tell_workers.
--
-- KEYS  ids, told
-- ARGV  what the names of workers begin with, for how long one is live (ms), is kept (ms), how many are kept,
--       then for each worker: id, stream, when that was opened (µs), its end (empty: none), facts
--
-- Answers in order: 1 where the worker was asked to drain, else 0. Keys that are named here have the hash tag of those
-- that are declared.
local ids, told = KEYS[1], KEYS[2]
local base, kept_for, most = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local live_until = clock + tonumber(ARGV[2])

local function counts(known, stream, opened, ended)
    local known_stream, known_opened, known_until, known_end = known[1], known[2], known[3], known[4]
    if not known_stream then
        return true
    end
    if known_stream == stream then
        return known_end == ''
    end
    return ended == '' and (tonumber(opened) >= tonumber(known_opened) or clock > tonumber(known_until))
end

local function forget(id)
    redis.call('DEL', base .. id)
    redis.call('ZREM', ids, id)
    redis.call('ZREM', told, id)
end

local answer = {}
for i = 5, #ARGV, 5 do
    local id, stream, opened, ended, facts = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
    local key = base .. id
    local known = redis.call('HMGET', key, 'stream', 'opened', 'until', 'end', 'asked')
    if counts(known, stream, opened, ended) then
        redis.call('HSET', key, 'stream', stream, 'opened', opened, 'until', live_until, 'end', ended, 'facts', facts)
        redis.call('HSETNX', key, 'came', opened)
        redis.call('PEXPIRE', key, kept_for)
        redis.call('ZADD', ids, 0, id)
        redis.call('ZADD', told, clock, id)
    end
    answer[#answer + 1] = known[5] and 1 or 0
end
-- A few at a time, so that Redis is not busy for long: as many as may have come, and those whose time is over.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', told, '-inf', clock - kept_for, 'LIMIT', 0, 1000)) do
    forget(id)
end
local n_too_many = math.min(redis.call('ZCARD', told) - most, 1000)
if n_too_many > 0 then
    for _, id in ipairs(redis.call('ZRANGE', told, 0, n_too_many - 1)) do
        forget(id)
    end
end
redis.call('PEXPIRE', ids, kept_for)
redis.call('PEXPIRE', told, kept_for)
return answer
