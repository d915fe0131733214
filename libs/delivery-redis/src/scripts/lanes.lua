-- Finds lanes of some functions that require labels of which the first is among those given: there may be others, so the
-- caller looks at each.
--
-- KEYS  needed
-- ARGV  base, the most lanes of each function and label, the most lanes in all, how many functions, then the functions
--       and the labels
--
-- Answers 1 where it leaves some out, else 0; then the lanes.
local needed, base = KEYS[1], ARGV[1]
local max_of_each, max_lanes, n_functions = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
-- A call takes some thousand arguments at most.
local CHUNK = 1000

-- Which of these arguments a set has.
local function members(set, first, last)
    local found = {}
    for from = first, last, CHUNK do
        local to = math.min(from + CHUNK - 1, last)
        for i, is_member in ipairs(redis.call('SMISMEMBER', set, unpack(ARGV, from, to))) do
            if is_member == 1 then
                found[#found + 1] = ARGV[from + i - 1]
            end
        end
    end
    return found
end

local answer = { 0 }
if redis.call('EXISTS', needed) == 0 then
    return answer
end
local sets = {}
for _, name in ipairs(members(needed, 5, 4 + n_functions)) do
    for _, line in ipairs(members(base .. 'needed:' .. name, 5 + n_functions, #ARGV)) do
        sets[#sets + 1] = base .. 'needs:' .. name .. '\n' .. line
    end
end
-- Any set first and any of its lanes: where there are too many, each has its chance.
local first = tonumber(redis.call('TIME')[2])
for step = 1, #sets do
    local set = sets[(first + step) % #sets + 1]
    local room = math.min(max_of_each, max_lanes + 1 - #answer)
    if redis.call('SCARD', set) > room then
        answer[1] = 1
    end
    if room > 0 then
        for _, lane in ipairs(redis.call('SRANDMEMBER', set, room)) do
            answer[#answer + 1] = lane
        end
    end
end
return answer
