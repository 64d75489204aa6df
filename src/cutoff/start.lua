-- The moment at which an authentication begins: later than every cutoff there is, and no later cutoff is before it,
-- whatever the clock does. KEYS: the latest moment handed out, the largest cutoff. ARGV: how long to keep it, in milliseconds.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local latest = moment(KEYS[1])
local start = math.max(now, latest, moment(KEYS[2]) + 1, 1)
keep_later(KEYS[1], latest, start, tonumber(ARGV[1]))
return string.format('%.0f', start)
