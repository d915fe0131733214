-- Ends leases, up to the given epochs.
--
-- KEYS  expiry, holders, hindrances
-- ARGV  for each lease: run id, epoch
local expiry, holders, hindrances = KEYS[1], KEYS[2], KEYS[3]
local are_any_hindered = redis.call('EXISTS', hindrances) == 1
for i = 1, #ARGV, 2 do
    local known = redis.call('HGET', holders, ARGV[i])
    if known and tonumber(string.match(known, '^%d+')) <= tonumber(ARGV[i + 1]) then
        redis.call('ZREM', expiry, ARGV[i])
        redis.call('HDEL', holders, ARGV[i])
        if are_any_hindered then
            redis.call('HDEL', hindrances, ARGV[i])
        end
    end
end
return redis.status_reply('OK')
