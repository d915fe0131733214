-- Finds lanes that require labels of which the first is among those given: there may be others, so the caller looks at
-- each.
--
-- KEYS  needed
-- ARGV  base, the most lanes for each label, then the labels
--
-- Answers the lanes.
local answer = {}
if redis.call('EXISTS', KEYS[1]) == 0 then
    return answer
end
for i = 3, #ARGV do
    if redis.call('SISMEMBER', KEYS[1], ARGV[i]) == 1 then
        -- Any of them: where there are too many, each has its chance.
        for _, lane in ipairs(redis.call('SRANDMEMBER', ARGV[1] .. 'needs:' .. ARGV[i], tonumber(ARGV[2]))) do
            answer[#answer + 1] = lane
        end
    end
end
return answer
