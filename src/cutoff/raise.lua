-- Ends everything authenticated before now: the cutoff is later than any moment of authentication handed out so far, and
-- whoever begins to authenticate afterwards begins later than it.
-- KEYS: the cutoff, the latest moment handed out, the largest cutoff. ARGV: how long to keep it, in milliseconds.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local largest, kept = moment(KEYS[3]), tonumber(ARGV[1])
local cutoff = next_cutoff(now, moment(KEYS[1]), moment(KEYS[2]))
keep_moment(KEYS[1], cutoff, kept)
keep_later(KEYS[3], largest, cutoff, kept)
return string.format('%.0f', cutoff)
