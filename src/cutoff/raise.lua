-- Ends everything authenticated before now: the cutoff is later than any moment of authentication handed out so far.
-- KEYS: the cutoff, the latest moment handed out. ARGV: how long to keep it, in milliseconds.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local old, latest = moment(KEYS[1]), moment(KEYS[2])
local cutoff = math.max(now, old + 1, latest)
local text = string.format('%.0f', cutoff)
redis.call('SET', KEYS[1], text, 'PXAT', string.format('%.0f', cutoff + tonumber(ARGV[1])))
return text
