-- Notes up to when the database's endings are known here. KEYS: the mark. ARGV: the moment, how long it is kept.
-- `moment` refuses what is no moment.
local old, new = moment(KEYS[1]), tonumber(ARGV[1])
if new > old then
  redis.call('SET', KEYS[1], string.format('%.0f', new), 'PXAT', string.format('%.0f', new + tonumber(ARGV[2])))
end
return 1
