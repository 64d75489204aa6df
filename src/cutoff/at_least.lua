-- Raises a cutoff to a moment, and never lowers it.
-- KEYS: the cutoff. ARGV: the moment, how long it is kept, in milliseconds. Reply: what it is then.
local old, new = moment(KEYS[1]), tonumber(ARGV[1])
if new > old then
  redis.call('SET', KEYS[1], string.format('%.0f', new), 'PXAT', string.format('%.0f', new + tonumber(ARGV[2])))
end
return string.format('%.0f', math.max(old, new))
