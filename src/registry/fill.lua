-- Writes what the database said, unless somebody revoked meanwhile: only while this reader's lease and the generation are
-- those under which it asked. KEYS: value, generation, lease.
-- ARGV: the lease, the generation, the value, for how long it is fresh, for how long it is kept. Reply: 1 if it was written.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if redis.call('GET', KEYS[3]) ~= ARGV[1] or (redis.call('GET', KEYS[2]) or '0') ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[3])
local fresh = string.format('%015.0f', now + tonumber(ARGV[4]))
redis.call('SET', KEYS[1], fresh .. ARGV[3], 'PXAT', string.format('%.0f', now + tonumber(ARGV[5])))
return 1
