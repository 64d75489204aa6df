-- Raises a cutoff to a moment, and never lowers it. If the moment is just now by another clock, and this one is ahead of it
-- by more than the allowance, to now: what began here before is to end as well.
-- KEYS: the cutoff, the largest cutoff. ARGV: the moment, how long it is kept, the allowance, in milliseconds. Reply:
-- what it is then.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local old, largest, new, allowance = moment(KEYS[1]), moment(KEYS[2]), tonumber(ARGV[1]), tonumber(ARGV[3])
if now > new + allowance then new = now end
if new > old then
  keep_moment(KEYS[1], new, tonumber(ARGV[2]))
  keep_later(KEYS[2], largest, new, tonumber(ARGV[2]))
end
return string.format('%.0f', math.max(old, new))
