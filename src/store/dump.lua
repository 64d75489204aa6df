-- For tests: everything under the prefixes in ARGV. Reply: of each key name, kind, expiry (-1 for none), parts.
local out = {}
for _, prefix in ipairs(ARGV) do
  local pattern = string.gsub(prefix, '[%*%?%[%]%^\\]', '\\%0') .. '*'
  for _, key in ipairs(redis.call('KEYS', pattern)) do
    local kind, parts = redis.call('TYPE', key).ok, {}
    if kind == 'string' then parts = { redis.call('GET', key) }
    elseif kind == 'hash' then parts = redis.call('HGETALL', key)
    elseif kind == 'zset' then parts = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    end
    out[#out + 1] = { key, kind, redis.call('PEXPIRETIME', key), parts }
  end
end
return out
