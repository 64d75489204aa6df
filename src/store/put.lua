-- For tests: makes a key hold exactly this. ARGV: expiry (0 for none), kind, parts.
redis.call('DEL', KEYS[1])
local kind = ARGV[2]
if kind == 'string' then redis.call('SET', KEYS[1], ARGV[3]) end
for i = 3, #ARGV, 2 do
  if kind == 'hash' then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  elseif kind == 'zset' then redis.call('ZADD', KEYS[1], ARGV[i + 1], ARGV[i])
  end
end
if ARGV[1] ~= '0' then redis.call('PEXPIREAT', KEYS[1], ARGV[1]) end
return 1
