-- Tells since when the state has existed; after a loss, since now.
--
-- KEYS  born_at
--
-- Answers the time of birth and the time now (µs).
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('SET', KEYS[1], now, 'NX')
return { redis.call('GET', KEYS[1]), now }
