-- Raises a cutoff to a moment, and never lowers it.
-- KEYS: the cutoff, the largest cutoff. ARGV: the moment, how long it is kept, in milliseconds. Reply: what it is then.
local old, largest, new = moment(KEYS[1]), moment(KEYS[2]), tonumber(ARGV[1])
if new > old then
  keep_moment(KEYS[1], new, tonumber(ARGV[2]))
  keep_later(KEYS[2], largest, new, tonumber(ARGV[2]))
end
return string.format('%.0f', math.max(old, new))
