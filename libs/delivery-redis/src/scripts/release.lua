-- Ends leases, up to the given epochs.
--
-- KEYS  expiry, holders
-- ARGV  for each lease: run id, epoch
local expiry, holders = KEYS[1], KEYS[2]
for i = 1, #ARGV, 2 do
    local known = redis.call('HGET', holders, ARGV[i])
    if known and tonumber(string.match(known, '^%d+')) <= tonumber(ARGV[i + 1]) then
        redis.call('ZREM', expiry, ARGV[i])
        redis.call('HDEL', holders, ARGV[i])
    end
end
return redis.status_reply('OK')
