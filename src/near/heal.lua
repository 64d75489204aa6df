-- Tells the server of a cutoff that it lost. Never lowers one, and never lets one end sooner.
-- KEYS: the cutoff. ARGV: the moment, and for how many milliseconds it is kept, 0 for ever.
-- Reply: 1 if it was behind.
local held = tonumber(redis.call('GET', KEYS[1]) or '-1')
local left = redis.call('PTTL', KEYS[1])
local moment, kept = tonumber(ARGV[1]), tonumber(ARGV[2])
if left > kept and kept > 0 then kept = left end
if left == -1 then kept = 0 end
if held >= moment then return 0 end
if kept > 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%.0f', kept))
else
  redis.call('SET', KEYS[1], ARGV[1])
end
return 1
