-- Ends everything authenticated before now: the cutoff is later than any moment of authentication handed out so far, and
-- whoever begins to authenticate afterwards begins later than it.
-- KEYS: the cutoff, the latest moment handed out. ARGV: how long to keep it, in milliseconds.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local latest, kept = moment(KEYS[2]), tonumber(ARGV[1])
local cutoff = next_cutoff(now, moment(KEYS[1]), latest)
keep_moment(KEYS[1], cutoff, kept)
note_latest(KEYS[2], latest, cutoff + 1, kept)
return string.format('%.0f', cutoff)
